package httpapi

import (
	"bytes"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/parallelvirtualcluster/pvc/api-daemon/internal/auth"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

const afterLogin = "/api/v1"

var loginForm = template.Must(template.New("login").Parse(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>PVC login</title></head>
<body>
<h1>PVC</h1>
<form method="post">
<label>Token <input type="password" name="token" autocomplete="current-password" required autofocus></label>
{{with .}}<input type="hidden" name="next" value="{{.}}">
{{end}}<button type="submit">Log in</button>
</form>
</body>
</html>
`))

// getLogin is a form that works without scripts.
func (a *API) getLogin(r *request) (*reply, error) {
	if !a.o.Auth.Enabled() {
		return message(auth.MessageDisabled), nil
	}
	if _, err := localPath(r.values.text(next.name)); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := loginForm.Execute(&b, r.values.text(next.name)); err != nil {
		return nil, errs.New(errs.Internal, "login form: %w", err)
	}
	r.call.Header().Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	return &reply{media: mediaHTML, body: [][]byte{b.Bytes()}}, nil
}

// postLogin opens a session.
func (a *API) postLogin(r *request) (*reply, error) {
	if !a.o.Auth.Enabled() {
		return message(auth.MessageDisabled), nil
	}
	to, err := localPath(r.values.text(next.name))
	if err != nil {
		return nil, err
	}
	who, err := a.o.Auth.Login(r.call, r.Request, r.values.text(token.name))
	if err != nil {
		return nil, err
	}
	a.noted(r, "login", who)
	return moved(r, to, "logged in as "+who.Name), nil
}

// logout ends the session.
func (a *API) logout(r *request) (*reply, error) {
	if !a.o.Auth.Enabled() {
		return message(auth.MessageDisabled), nil
	}
	to, err := localPath(r.values.text(next.name))
	if err != nil {
		return nil, err
	}
	if err := a.o.Auth.Logout(r.call, r.Request); err != nil {
		return nil, err
	}
	a.noted(r, "logout", auth.Identity{})
	return moved(r, to, "logged out"), nil
}

// moved sends a browser on and tells everybody else.
func moved(r *request, to, text string) *reply {
	p := message(text)
	if weight(r.Header.Values("Accept"), "text/html") > 0 {
		p.status, p.location = http.StatusFound, to
	}
	return p
}

// localPath checks where a browser is to go next: a path of this server and nothing
// that a browser could read as another server. Empty is the root of the API.
func localPath(next string) (string, error) {
	if next == "" {
		return afterLogin, nil
	}
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || next[0] != '/' || strings.HasPrefix(next, "//") ||
		strings.ContainsFunc(next, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7F }) {
		return "", errs.Invalidf("value %q: %q is not a path of this server", "next", model.Clip(next))
	}
	return next, nil
}
