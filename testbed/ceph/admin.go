package ceph

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// askDeadline bounds one question over an admin socket: a frozen daemon has its
// socket open and says nothing.
const askDeadline = time.Second

// maxAnswer is more than any answer that is asked for here, bytes.
const maxAnswer = 1 << 20

// Ask puts a command without arguments to a daemon over its admin socket and
// returns the answer, usually JSON. What a daemon does not know it answers with a
// text or with nothing.
func Ask(ctx context.Context, socket, command string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askDeadline)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", command, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(0, 1)) })
	defer stop()
	question, err := json.Marshal(map[string]string{"prefix": command})
	if err != nil {
		return nil, err
	}
	// A request ends with a zero byte; an answer begins with its length in network
	// order. It is what "ceph daemon" speaks.
	if _, err := conn.Write(append(question, 0)); err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", socket, command, err)
	}
	var length uint32
	if err := binary.Read(conn, binary.BigEndian, &length); err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", socket, command, err)
	}
	answer, err := io.ReadAll(io.LimitReader(conn, int64(min(length, maxAnswer))))
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", socket, command, err)
	}
	return answer, nil
}

// SocketPath is the admin socket of a daemon, as its host sees it.
func SocketPath(daemon string) string { return RunPath + "/" + daemon + ".asok" }

// Serves says by its error why the daemon behind an admin socket does not do its part
// in the cluster: it does not run, hangs, or has not come so far. Monitors answer for
// a while for daemons that have just died; the daemons themselves do not.
func Serves(ctx context.Context, daemon, socket string) error {
	kind, _, _ := strings.Cut(daemon, ".")
	command := map[string]string{"mon": "mon_status", "mgr": "mgr_status", "osd": "status"}[kind]
	answer, err := Ask(ctx, socket, command)
	if err != nil {
		return fmt.Errorf("%s: %w", daemon, err)
	}
	var is struct {
		State       string // of monitors and OSDs
		Initialized bool   // of managers
	}
	if err := json.Unmarshal(answer, &is); err != nil {
		return fmt.Errorf("%s: %s: %w", daemon, command, err)
	}
	if is.Initialized || is.State == "leader" || is.State == "active" {
		return nil
	}
	return fmt.Errorf("%s does not serve yet: %s", daemon, answer)
}
