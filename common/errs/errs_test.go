package errs

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestKindSurvivesWrapping(t *testing.T) {
	inner := Conflictf("VM %q is migrating: %w", "web1", io.ErrUnexpectedEOF)
	err := fmt.Errorf("move VM: %w", inner)
	if KindOf(err) != Conflict || !Is(err, Conflict) {
		t.Errorf("kind of %v = %v, want conflict", err, KindOf(err))
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	if got, want := err.Error(), `move VM: VM "web1" is migrating: unexpected EOF`; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
}

func TestOutermostKindWins(t *testing.T) {
	err := New(Unavailable, "no target: %w", NotFoundf("node %q", "hv9"))
	if KindOf(err) != Unavailable {
		t.Errorf("kind = %v", KindOf(err))
	}
}

func TestPlainAndNilErrors(t *testing.T) {
	if KindOf(io.EOF) != Internal {
		t.Error("a plain error is not internal")
	}
	if Is(nil, Internal) {
		t.Error("nil has a kind")
	}
}
