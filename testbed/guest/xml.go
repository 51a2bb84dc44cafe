package guest

import (
	"embed"
	"fmt"
	"os"
	"strings"
	"text/template"
)

//go:embed xml/*.xml
var xmlFiles embed.FS

var templates = func() *template.Template {
	t := template.New("guest")
	for _, name := range []string{"tick", "linux", "console"} {
		b, err := xmlFiles.ReadFile("xml/" + name + ".xml")
		if err != nil {
			panic(err) // embedded: cannot be missing
		}
		template.Must(t.New(name).Parse("\n" + strings.TrimSuffix(string(b), "\n")))
	}
	return t
}()

// Options of a guest's domain XML.
type Options struct {
	Name   string
	UUID   string // empty: left out
	Images Images
	Log    string // file of the serial console; empty: none

	// The rest is for the Linux guest.
	Seq    int    // milliseconds between two steps of the sequence; 0: heartbeat only
	Disk   string // raw image, see MakeDisk; empty: none
	RBD    *RBD   // an RBD image as its disk instead; nil: none
	Cache  string // cache mode of the disk; empty: none, that is direct I/O
	Bridge string // bridge of its network card; empty: none
	MAC    string // of that card; empty: libvirt chooses one
	Args   string // more kernel arguments
}

// RBD is an image as a disk.
type RBD struct {
	Pool, Image string
	Monitors    []string // addresses; the port is Ceph's usual one
	User        string   // without "client."
	Secret      string   // UUID of the secret with that user's key
}

// Tick is the domain XML of a tiny guest.
func Tick(o Options) string { return render("tick", o) }

// Linux is the domain XML of a Linux guest.
func Linux(o Options) string {
	if o.Cache == "" {
		o.Cache = "none"
	}
	return render("linux", o)
}

func render(name string, o Options) string {
	var b strings.Builder
	if err := templates.ExecuteTemplate(&b, name, o); err != nil {
		panic(err) // the templates use fields of Options only
	}
	return strings.TrimPrefix(b.String(), "\n") + "\n"
}

// MakeDisk creates a sparse raw image of the given size in bytes.
func MakeDisk(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	if err := f.Truncate(size); err != nil {
		f.Close()
		return fmt.Errorf("make disk: %w", err)
	}
	return f.Close()
}
