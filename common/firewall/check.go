package firewall

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// Timeout is how long one call of nft may take; it usually takes 20 ms.
const Timeout = 10 * time.Second

// Checker has nft try rules.
type Checker struct {
	Run run.Runner // runs nft(8), which needs CAP_NET_ADMIN
}

// Check says whether a rule may be stored: see [Checker.Check]. It runs the nft of this host.
func Check(ctx context.Context, rule string) error {
	return Checker{Run: run.System{}}.Check(ctx, rule)
}

// Check says whether a rule may be stored: [Grammar] accepts it, and nft and the kernel
// would load it into a table that has nothing else. Nothing is changed on the host. A rule
// that is refused is errs.Invalid with the reason; if nft is missing, not permitted or does
// not answer, the error is errs.Unavailable: no rule passes unchecked.
func (c Checker) Check(ctx context.Context, rule string) error {
	if err := Grammar(rule); err != nil {
		return err
	}
	reason, err := c.try(ctx, rule)
	if err == nil {
		return nil
	}
	var exit *run.ExitError
	if !errors.As(err, &exit) {
		return errs.Unavailablef("check rule %q: %w", model.Clip(rule), err)
	}
	// Whether nft refuses this rule or works at all here shows a rule that is surely right.
	if ours, err := c.try(ctx, "accept"); err != nil {
		return errs.Unavailablef("check rule %q: nft refuses every rule: %s: %w", model.Clip(rule), ours, err)
	}
	return errs.Invalidf("rule %q is refused by nft: %s", model.Clip(rule), reason)
}

// try loads a rule as it would be loaded for a network, but only for a check.
func (c Checker) try(ctx context.Context, rule string) (reason string, err error) {
	text := "table inet pvc-check {\n" +
		"\tchain rules {\n\t\tcounter " + rule + "\n\t}\n" +
		"\tchain forward {\n\t\ttype filter hook forward priority filter\n\t\tjump rules\n\t}\n}\n"
	r, err := c.Run.Run(ctx, run.Command{Argv: []string{"nft", "-c", "-f", "-"}, Stdin: []byte(text), Timeout: Timeout})
	return Reason(r.Stderr), err
}

const maxReason = 200

// Reason is the first line of what nft says about a file, without the place, which means
// nothing to somebody who has not seen the file.
func Reason(stderr []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(stderr), []byte("\n"))
	text := string(line)
	if _, after, found := strings.Cut(text, "Error: "); found {
		text = after
	}
	return strings.ToValidUTF8(text[:min(len(text), maxReason)], "?")
}
