package primary

import (
	"testing"
	"time"
)

// decision: an impossible wish
// decision: coordinator state
func TestDecide(t *testing.T) {
	const never = time.Duration(-1)
	alone := map[string]bool{}
	others := map[string]bool{"hv2": true, "hv3": true}
	for name, tc := range map[string]struct {
		o    Observation
		want Action
	}{
		"nobody is asked for":              {Observation{Running: true, Others: others, Wish: "none", StoodDown: never}, Contend},
		"not running yet":                  {Observation{Others: others, Wish: "none", StoodDown: never}, Watch},
		"this one is asked for":            {Observation{Running: true, Others: others, Wish: "hv1", StoodDown: never}, Contend},
		"a live one is asked for":          {Observation{Running: true, Others: others, Wish: "hv2", WishAge: 9 * time.Second, StoodDown: never}, Watch},
		"a live one does not come":         {Observation{Running: true, Others: others, Wish: "hv2", WishAge: 10 * time.Second, StoodDown: never}, Contend},
		"a dead one is asked for":          {Observation{Running: true, Others: others, Wish: "hv9", StoodDown: never}, Contend},
		"another holds":                    {Observation{Running: true, Others: others, Wish: "hv1", Holder: "hv2", StoodDown: never}, Watch},
		"an earlier session of mine holds": {Observation{Running: true, Others: others, Wish: "hv1", Holder: "hv1", StoodDown: never}, Watch},
		"just stood down":                  {Observation{Running: true, Others: others, Wish: "none", StoodDown: 9 * time.Second}, Watch},
		"stood down long ago":              {Observation{Running: true, Others: others, Wish: "none", StoodDown: 10 * time.Second}, Contend},
		"stood down, but alone now":        {Observation{Running: true, Others: alone, Wish: "none", StoodDown: time.Second}, Contend},
		"stood down, but named":            {Observation{Running: true, Others: others, Wish: "hv1", StoodDown: time.Second}, Contend},

		"holder is asked for":                  {Observation{Running: true, Others: others, Wish: "hv1", Holder: "hv1", Mine: true, StoodDown: never}, Hold},
		"holder, a live one is asked for":      {Observation{Running: true, Others: others, Wish: "hv2", Holder: "hv1", Mine: true, StoodDown: never}, Relinquish},
		"holder, a dead one is asked for":      {Observation{Running: true, Others: others, Wish: "hv9", Holder: "hv1", Mine: true, StoodDown: never}, Reassert},
		"holder, none is asked for":            {Observation{Running: true, Others: others, Wish: "none", Holder: "hv1", Mine: true, StoodDown: never}, Relinquish},
		"holder, none is asked for, but alone": {Observation{Running: true, Others: alone, Wish: "none", Holder: "hv1", Mine: true, StoodDown: never}, Reassert},
	} {
		t.Run(name, func(t *testing.T) {
			tc.o.Self = "hv1"
			if got := Decide(tc.o); got != tc.want {
				t.Errorf("Decide = %v, want %v", got, tc.want)
			}
		})
	}
}
