package ensemble

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The ports that every server uses on its own address.
const (
	ClientPort   = 2181
	peerPort     = 2888
	electionPort = 3888
)

// DefaultTick is the tickTime that PVC ships: a lost leader is replaced within
// 3 s and sessions of 10 s survive it.
const DefaultTick = 500 * time.Millisecond

// DefaultHeapMiB is enough for a thousand VMs.
const DefaultHeapMiB = 128

const (
	javaBinary = "/usr/bin/java"
	serverJar  = "/usr/share/java/zookeeper.jar"
	loggerJar  = "/usr/share/java/slf4j-simple.jar"
)

// Config describes one server of an ensemble.
type Config struct {
	ID    int      // 1-based, as in myid
	Addrs []string // IP addresses of all servers in the order of their ids
	Dir   string   // absolute; receives zoo.cfg and data/
	Tick  time.Duration
	FSync bool // false leaves out the fsync per transaction: never quote a benchmark of it
	// HeapMiB bounds the server's memory; 0 means DefaultHeapMiB. A thousand VMs need
	// about 10 MiB, and as much again while they are saved.
	HeapMiB int
}

// Text is the content of zoo.cfg.
func (c Config) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	tick := c.Tick.Milliseconds()
	line("tickTime=%d", tick)
	// Counted in ticks: a follower may take 10 s to load and 5 s to catch up.
	line("initLimit=%d", max(10, 10_000/tick))
	line("syncLimit=%d", max(5, 5_000/tick))
	line("dataDir=%s", filepath.Join(c.Dir, "data"))
	line("clientPort=%d", ClientPort)
	line("clientPortAddress=%s", c.Addrs[c.ID-1])
	line("admin.enableServer=false")
	line("4lw.commands.whitelist=ruok,srvr,stat,mntr,cons,wchs,dump,isro")
	line("autopurge.purgeInterval=1")
	line("autopurge.snapRetainCount=3")
	if !c.FSync {
		line("forceSync=no")
	}
	line("minSessionTimeout=%d", 2*tick)
	line("maxSessionTimeout=60000")
	line("maxClientCnxns=0")
	if len(c.Addrs) > 1 {
		for i, addr := range c.Addrs {
			line("server.%d=%s:%d:%d", i+1, addr, peerPort, electionPort)
		}
	}
	return b.String()
}

// Write puts zoo.cfg and myid below Dir, keeping data that is there.
func (c Config) Write() error {
	data := filepath.Join(c.Dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return fmt.Errorf("configure ZooKeeper server %d: %w", c.ID, err)
	}
	if err := os.WriteFile(filepath.Join(data, "myid"), []byte(strconv.Itoa(c.ID)+"\n"), 0o644); err != nil {
		return fmt.Errorf("configure ZooKeeper server %d: %w", c.ID, err)
	}
	if err := os.WriteFile(c.path(), []byte(c.Text()), 0o644); err != nil {
		return fmt.Errorf("configure ZooKeeper server %d: %w", c.ID, err)
	}
	return nil
}

// Command is the argument vector that runs the server in the foreground. It is
// tuned for a fast start and a small footprint (about 70 MiB).
func (c Config) Command() []string {
	return []string{javaBinary,
		fmt.Sprintf("-Xmx%dm", cmp.Or(c.HeapMiB, DefaultHeapMiB)), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:-UsePerfData",
		"-Dzookeeper.jmx.log4j.disable=true", "-Djava.net.preferIPv4Stack=true",
		// Without the upper bound a server that was cut off needs half a minute
		// to take part in elections again.
		"-Dzookeeper.fastleader.minNotificationInterval=200",
		"-Dzookeeper.fastleader.maxNotificationInterval=1000",
		"-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
		"-cp", serverJar + ":" + loggerJar,
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", c.path(),
	}
}

// ClientAddr is where clients of the server connect, as host:port.
func (c Config) ClientAddr() string {
	return net.JoinHostPort(c.Addrs[c.ID-1], strconv.Itoa(ClientPort))
}

func (c Config) path() string { return filepath.Join(c.Dir, "zoo.cfg") }

// Missing says what has to be installed before a server can run, "" if nothing.
func Missing() string {
	for _, file := range []string{javaBinary, serverJar, loggerJar} {
		if _, err := os.Stat(file); err != nil {
			return fmt.Sprintf("%s is missing (Debian package zookeeper)", file)
		}
	}
	return ""
}
