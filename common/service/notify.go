package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// What is said to the service manager (sd_notify(3)).
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	Watchdog = "WATCHDOG=1"
)

// Notify tells the service manager a state. Without one (NOTIFY_SOCKET is not set) it
// does nothing.
func Notify(state string) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	// A leading '@' means the abstract name space, as it does for net.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	_, err = conn.Write([]byte(state))
	return errors.Join(err, conn.Close())
}

// WatchdogInterval is how often the service manager wants to hear Watchdog: half of
// what it waits (WATCHDOG_USEC). 0 if it does not want to.
func WatchdogInterval() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 || usec > int64(24*time.Hour/time.Microsecond) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond / 2
}

// WatchdogService tells the service manager that the daemon works, as long as alive
// says so. It only waits if the service manager does not ask.
func WatchdogService(alive func() bool) Runner {
	return RunFunc(func(ctx context.Context) error {
		interval := WatchdogInterval()
		if interval == 0 {
			<-ctx.Done()
			return nil
		}
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			if alive() {
				if err := Notify(Watchdog); err != nil {
					return err
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
	})
}
