package host

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ControlSocket is where processes of a host find the supervisor of their host, as
// they would find systemd: DESIGN.md, "Units", has the protocol.
const ControlSocket = "/run/testbed/control"

// unitPattern is a unit of a template: its name and its instance.
var unitPattern = regexp.MustCompile(`^([a-z][a-z0-9-]{0,30}@)([A-Za-z0-9_.-]{1,40})$`)

// instance is the service that a template makes for one unit; false if there is no
// such template.
func (s *supervisor) instance(name string) (Service, bool) {
	m := unitPattern.FindStringSubmatch(name)
	if m == nil {
		return Service{}, false
	}
	service, ok := s.templates[m[1]]
	if !ok {
		return Service{}, false
	}
	fill := func(text string) string { return strings.ReplaceAll(text, "%i", m[2]) }
	argv := make([]string, len(service.Argv))
	for i, arg := range service.Argv {
		argv[i] = fill(arg)
	}
	service.Name, service.Argv, service.Log = name, argv, fill(service.Log)
	return service, true
}

// handleUnknown answers a request for a unit that has never been started: it can be,
// and it does not run.
func (s *supervisor) handleUnknown(r request) (response, <-chan struct{}) {
	service, ok := s.instance(r.Service)
	switch {
	case !ok:
		return response{Error: "no such service", Missing: true}, nil
	case r.Verb == verbUp:
		s.add(service)
		return response{}, nil
	case r.Verb == verbStop || r.Verb == verbDown:
		return response{}, nil
	}
	return response{Error: "does not run"}, nil
}

// startEnabled starts the units that are enabled.
func (s *supervisor) startEnabled(dir string) {
	s.tasks <- func() {
		s.enabled = dir
		files, err := os.ReadDir(dir)
		if err != nil {
			slog.Error("units that are enabled", "err", err)
		}
		for _, f := range files {
			if service, ok := s.instance(f.Name()); ok {
				s.add(service)
			} else {
				slog.Error("enabled unit without a template", "service", f.Name())
			}
		}
	}
}

func (s *supervisor) setEnabled(name string, on bool) response {
	if _, ok := s.instance(name); !ok {
		return response{Error: "no such unit", Missing: true}
	}
	if on {
		if err := mark(s.enabled, name); err != nil {
			return response{Error: err.Error()}
		}
		return response{}
	}
	if err := os.Remove(filepath.Join(s.enabled, name)); err != nil && !os.IsNotExist(err) {
		return response{Error: err.Error()}
	}
	if u := s.units[name]; u != nil && u.pid == 0 && u.down {
		delete(s.units, name) // nobody has a use for it any more
	}
	return response{}
}

func (s *supervisor) isEnabled(name string) bool {
	if s.enabled == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(s.enabled, name))
	return err == nil
}

// mark enables a unit: an empty file of its name.
func mark(dir, unit string) error { return os.WriteFile(filepath.Join(dir, unit), nil, 0o644) }
