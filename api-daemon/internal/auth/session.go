package auth

import (
	"fmt"
	"net/http"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

const referenceKey = "ref"

// session returns the index of the token that the request's session belongs to,
// -1 if it has no valid one. The configured tokens are asked every time: a token
// that was removed ends its sessions.
func (a *Auth) session(r *http.Request) int {
	if _, err := r.Cookie(CookieName); err != nil {
		return -1
	}
	s, err := a.cookies.New(r, CookieName)
	if err != nil || s.IsNew {
		return -1
	}
	ref, _ := s.Values[referenceKey].([]byte)
	return a.tokens.byReference(ref)
}

// Login checks the token and opens a session. It refuses a login that a page of
// another origin made a browser send. Errors are those of [Auth.Identify].
func (a *Auth) Login(w http.ResponseWriter, r *http.Request, token string) (Identity, error) {
	if err := a.CheckOrigin(r, Identity{ByCookie: true}); err != nil {
		return Identity{}, err
	}
	i, err := a.try(r, token)
	if err != nil {
		return Identity{}, err
	}
	s, _ := a.cookies.New(r, CookieName) // an old cookie that does not decode is replaced
	clear(s.Values)
	ref := reference(token, a.key)
	s.Values[referenceKey] = ref[:]
	if err := a.cookies.Save(r, w, s); err != nil {
		return Identity{}, errs.New(errs.Internal, "save session: %w", err)
	}
	return Identity{Name: a.tokens.names[i], ByCookie: true}, nil
}

// Logout ends the session of the request, if there is one.
func (a *Auth) Logout(w http.ResponseWriter, r *http.Request) error {
	s, _ := a.cookies.New(r, CookieName)
	clear(s.Values)
	s.Options.MaxAge = -1
	if err := a.cookies.Save(r, w, s); err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}
