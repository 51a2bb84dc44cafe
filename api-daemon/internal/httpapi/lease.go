package httpapi

import (
	"regexp"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

func (a *API) listLeases(r *request) (*reply, error) {
	n, _, err := a.findNetwork(r)
	if err != nil {
		return nil, err
	}
	limit := r.values.pattern("limit")
	if r.values.flag("static") {
		return jsonReply(reservations(n, limit)), nil
	}
	return jsonReply(activeLeases(n, limit, time.Now())), nil
}

// reservations are those of a network whose MAC address matches; nil matches all.
func reservations(n *model.Network, limit *regexp.Regexp) []leaseJSON {
	out := []leaseJSON{}
	for _, r := range n.Reservations {
		if limit == nil || limit.MatchString(r.MAC) {
			out = append(out, reservationAnswer(r))
		}
	}
	return out
}

// activeLeases are those on record that have not ended. The primary ends leases by its
// own clock; this one only hides what it would soon remove.
func activeLeases(n *model.Network, limit *regexp.Regexp, now time.Time) []leaseJSON {
	out := []leaseJSON{}
	for _, l := range n.Leases {
		if (limit == nil || limit.MatchString(l.MAC)) && active(l.Expiry, now) {
			out = append(out, leaseAnswer(n, l))
		}
	}
	for _, l := range n.Leases6 {
		if (limit == nil || limit.MatchString(l.MAC())) && active(l.Expiry, now) {
			out = append(out, lease6Answer(l))
		}
	}
	return out
}

func active(expiry int64, now time.Time) bool { return expiry == 0 || expiry > now.Unix() }

// getLease answers the leases of a MAC address, of both families, or the reservation for
// it if it is not in use.
func (a *API) getLease(r *request) (*reply, error) {
	n, _, err := a.findNetwork(r)
	if err != nil {
		return nil, err
	}
	mac, err := model.ParseMAC(r.path["lease"])
	if err != nil {
		return jsonReply([]leaseJSON{}), nil // no lease is called that
	}
	exactly := regexp.MustCompile("^" + mac + "$")
	if out := activeLeases(n, exactly, time.Now()); len(out) > 0 {
		return jsonReply(out), nil
	}
	return jsonReply(reservations(n, exactly)), nil
}

func (a *API) addLease(r *request) (*reply, error) {
	return answered(a.o.Changes.AddReservation(r.Context(), cluster.AddReservation{
		Network: r.path["network"], MAC: r.values.text("macaddress"), IP: r.values.text("ipaddress"), Hostname: r.values.text("hostname"),
	}))
}

func (a *API) deleteLease(r *request) (*reply, error) {
	return answered(a.o.Changes.RemoveReservation(r.Context(), r.path["network"], r.path["lease"]))
}
