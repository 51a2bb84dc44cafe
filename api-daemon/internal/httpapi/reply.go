package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/api-daemon/internal/auth"
	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// StatusFailed is what the manual answers for any failure in a known endpoint.
const StatusFailed = 510

// StatusRoot is what the manual answers at the root of the API.
const StatusRoot = 209

const (
	mediaJSON = "application/json"
	mediaXML  = "application/xml"
	mediaHTML = "text/html; charset=utf-8"
)

// statusOf is the table from kinds of errors to codes.
var statusOf = map[errs.Kind]int{
	errs.Internal:    StatusFailed,
	errs.NotFound:    StatusFailed,
	errs.Invalid:     StatusFailed,
	errs.Conflict:    StatusFailed,
	errs.Denied:      http.StatusUnauthorized,
	errs.Unavailable: http.StatusServiceUnavailable,
	errs.Unknown:     http.StatusServiceUnavailable,
}

// reply is what a handler has to say.
type reply struct {
	status   int // 0 is 200
	media    string
	body     [][]byte      // parts, one after the other
	gzip     func() []byte // the body compressed; nil if that is not offered
	etag     string
	location string
}

// message is the answer of a change.
func message(s string) *reply { return jsonReply(map[string]string{"message": s}) }

func jsonReply(v any) *reply {
	return &reply{media: mediaJSON, body: [][]byte{append(encode(v), '\n')}}
}

// encode renders a value made of maps, structs, texts and finite numbers, which
// cannot fail. XML stays readable: answers are never taken for HTML.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// failure turns an error into a reply. Whether something was changed is said by the one
// who knows, in the text: a change may fail after its first step.
func failure(w http.ResponseWriter, err error) *reply {
	var many *auth.TooManyError
	if errors.As(err, &many) {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(many.RetryAfter.Seconds()))))
		return withStatus(http.StatusTooManyRequests, err.Error())
	}
	kind := errs.KindOf(err)
	switch kind {
	case errs.Denied:
		w.Header().Set("WWW-Authenticate", `Bearer realm="pvc"`)
	case errs.Unavailable:
		w.Header().Set("Retry-After", "1")
	}
	return withStatus(statusOf[kind], err.Error())
}

func withStatus(status int, text string) *reply {
	r := message(text)
	r.status = status
	return r
}

// writeTimeout bounds the sending of one answer to a slow client.
const writeTimeout = 5 * time.Minute

// What stands around the objects of a list.
var (
	listBegin = []byte("[")
	listEnd   = []byte("]\n")
)

// send writes the reply.
func (p *reply) send(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if p.etag != "" {
		h.Set("ETag", p.etag)
		if sameTag(r.Header.Values("If-None-Match"), p.etag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	body, size := p.body, 0
	for _, part := range body {
		size += len(part)
	}
	if p.gzip != nil {
		h.Set("Vary", "Accept-Encoding")
		if size >= minGzip && acceptsGzip(r.Header.Values("Accept-Encoding")) {
			body = [][]byte{p.gzip()}
			size = len(body[0])
			h.Set("Content-Encoding", "gzip")
		}
	}
	if p.location != "" {
		h.Set("Location", p.location)
	}
	h.Set("Content-Type", p.media)
	h.Set("Content-Length", strconv.Itoa(size))
	// A recorder of a test has no deadline; everything else has.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	status := p.status
	if status == 0 {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	for _, part := range body {
		_, _ = w.Write(part) // a client that is gone cannot be told
	}
}

// minGzip is the size below which compressing saves no packet.
const minGzip = 1400

// sameTag compares weakly, RFC 9110 section 13.1.2.
func sameTag(headers []string, etag string) bool {
	for _, header := range headers {
		for tag := range strings.SplitSeq(header, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" || strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(etag, "W/") {
				return true
			}
		}
	}
	return false
}

// acceptsGzip reports whether gzip is named with a weight above zero.
func acceptsGzip(headers []string) bool {
	return weight(headers, "gzip") > 0
}

// weight returns the q value of an element of an Accept or Accept-Encoding header, 0 if it
// is not named.
func weight(headers []string, want string) float64 {
	for _, header := range headers {
		for element := range strings.SplitSeq(header, ",") {
			name, params, _ := strings.Cut(element, ";")
			if !strings.EqualFold(strings.TrimSpace(name), want) {
				continue
			}
			q, found := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
			if !found {
				return 1
			}
			f, err := strconv.ParseFloat(q, 64)
			if err != nil {
				return 0
			}
			return f
		}
	}
	return 0
}
