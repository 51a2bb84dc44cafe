package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/obs"
)

// decision: a waiting call when the primary moves
func TestACallThatWaitsIsAnsweredWhenTheListenerCloses(t *testing.T) {
	waiting := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(waiting)
		<-r.Context().Done()
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "it goes on")
	})
	l := &listener{address: "127.0.0.1:0", server: func() *http.Server { return &http.Server{Handler: handler, ReadHeaderTimeout: time.Second} },
		log: &obs.Log{Logger: slog.New(slog.DiscardHandler)}}
	ln, err := l.open()
	if err != nil {
		t.Fatal(err)
	}
	ctx, move := context.WithCancel(t.Context())
	served, answered := make(chan error, 1), make(chan error, 1)
	go func() { served <- l.serve(ctx, ln) }() // received below
	go func() {                                // received below
		res, err := http.Get("http://" + ln.Addr().String())
		if err == nil {
			defer func() { _ = res.Body.Close() }()
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "it goes on") {
				err = errors.New(res.Status + " " + string(body))
			}
		}
		answered <- err
	}()
	<-waiting
	move()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
