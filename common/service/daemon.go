package service

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/parallelvirtualcluster/pvc/common/version"
)

// Daemon is a program with a configuration file of type C, and what its command line
// can ask for.
type Daemon[C any, W fmt.Stringer] struct {
	Name string
	// Env names the environment variable with the path of the file, File is the path
	// if neither it nor --config is given.
	Env, File string
	// Load reads the file; warnings go to standard error.
	Load func(path string) (C, []W, error)
	// Serve works until ctx ends.
	Serve func(ctx context.Context, c C, stdout io.Writer) error
}

// Program is the body of the daemon's main function: --version prints the version,
// --check reads the configuration and says whether it is fine.
func (d Daemon[C, W]) Program(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet(d.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", "", "configuration `file`; default: $"+d.Env+", then "+d.File)
	check := flags.Bool("check", false, "check the configuration and exit")
	show := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return Usage(err)
	}
	if flags.NArg() > 0 {
		return Usage(fmt.Errorf("argument %q: none was expected", flags.Arg(0)))
	}
	if *show {
		_, err := fmt.Fprintln(stdout, d.Name, version.Version)
		return err
	}
	path := d.path(*file)
	c, warnings, err := d.Load(path)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		fmt.Fprintln(stderr, "warning:", w)
	}
	if *check {
		_, err := fmt.Fprintln(stdout, path+": fine")
		return err
	}
	return d.Serve(ctx, c, stdout)
}

func (d Daemon[C, W]) path(given string) string {
	if given != "" {
		return given
	}
	if env := os.Getenv(d.Env); env != "" {
		return env
	}
	return d.File
}
