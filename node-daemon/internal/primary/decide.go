package primary

import (
	"time"

	"github.com/parallelvirtualcluster/pvc/common/schema"
)

const (
	// nominationPatience is how long a live node that was named may take to take over.
	nominationPatience = 10 * time.Second
	// standDown is how long a former primary stays out when none was asked for.
	standDown = 10 * time.Second
)

// Observation is what a candidate sees.
type Observation struct {
	Self    string
	Running bool            // this daemon is in normal operation
	Others  map[string]bool // the other coordinators that are in normal operation

	Wish    string        // schema.Primary: a name or schema.NoPrimary
	WishAge time.Duration // for how long this wish has stood without a holder
	Holder  string        // name of the holder, "" if there is none
	Mine    bool          // the holder is this session

	// StoodDown is how long ago this candidate gave the role up for anybody else to
	// take, negative if it never did.
	StoodDown time.Duration
}

// Action is what a candidate does.
type Action uint8

// The actions.
const (
	// Watch: hold nothing and wait for a change.
	Watch Action = iota
	// Contend: try to become the holder.
	Contend
	// Hold: be primary.
	Hold
	// Reassert: be primary and write the own name over a wish that cannot be met.
	Reassert
	// Relinquish: give the role up, so that the wish can be met.
	Relinquish
)

var actionNames = [...]string{"watch", "contend", "hold", "reassert", "relinquish"}

// String names the action.
func (a Action) String() string { return actionNames[a] }

// Decide says what to do about what is seen.
func Decide(o Observation) Action {
	switch {
	case o.Mine:
		return decideHolder(o)
	case o.Holder != "" || !o.Running:
		return Watch
	case o.Wish == o.Self:
		return Contend
	case o.Wish == schema.NoPrimary:
		if o.StoodDown >= 0 && o.StoodDown < standDown && len(o.Others) > 0 {
			return Watch
		}
		return Contend
	case o.Others[o.Wish] && o.WishAge < nominationPatience:
		return Watch
	}
	return Contend
}

// decideHolder is Decide for the holder: it makes room only for somebody who can come.
func decideHolder(o Observation) Action {
	switch {
	case o.Wish == o.Self:
		return Hold
	case o.Others[o.Wish], o.Wish == schema.NoPrimary && len(o.Others) > 0:
		return Relinquish
	}
	return Reassert
}
