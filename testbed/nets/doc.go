// Package nets tests virtual networks on a cluster of three hosts, with Linux guests, as
// their users see them: through the API and from inside the guests.
package nets
