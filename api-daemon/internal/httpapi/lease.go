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
		if (limit == nil || limit.MatchString(l.MAC)) && active(l, now) {
			out = append(out, leaseAnswer(n, l))
		}
	}
	return out
}

func active(l model.Lease, now time.Time) bool { return l.Expiry == 0 || l.Expiry > now.Unix() }

// getLease answers the lease of a MAC address, or the reservation for it if it is not in
// use.
func (a *API) getLease(r *request) (*reply, error) {
	n, _, err := a.findNetwork(r)
	if err != nil {
		return nil, err
	}
	mac, err := model.ParseMAC(r.path["lease"])
	if err != nil {
		return jsonReply([]leaseJSON{}), nil // no lease is called that
	}
	for _, l := range n.Leases {
		if l.MAC == mac && active(l, time.Now()) {
			return jsonReply([]leaseJSON{leaseAnswer(n, l)}), nil
		}
	}
	for _, res := range n.Reservations {
		if res.MAC == mac {
			return jsonReply([]leaseJSON{reservationAnswer(res)}), nil
		}
	}
	return jsonReply([]leaseJSON{}), nil
}

func (a *API) addLease(r *request) (*reply, error) {
	return answered(a.o.Changes.AddReservation(r.Context(), cluster.AddReservation{
		Network: r.path["network"], MAC: r.values.text("macaddress"), IP: r.values.text("ipaddress"), Hostname: r.values.text("hostname"),
	}))
}

func (a *API) deleteLease(r *request) (*reply, error) {
	return answered(a.o.Changes.RemoveReservation(r.Context(), r.path["network"], r.path["lease"]))
}
