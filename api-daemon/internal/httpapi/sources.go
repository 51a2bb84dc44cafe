package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

const (
	maxQuery = 512 << 10
	maxBody  = 1 << 20
	// maxDrain is how much of a body that is too long is still read, so that the
	// client gets the answer instead of a broken connection.
	maxDrain = 32 << 20
)

// pairs are the texts given for each known name, in order.
type pairs map[string][]string

// sources are the values of a request as they were given. The query wins over the
// body.
type sources struct {
	query, body pairs
}

// lookup returns what was given under that name; it has at least one element.
func (s *sources) lookup(name string) ([]string, bool) {
	if texts, ok := s.query[name]; ok {
		return texts, true
	}
	texts, ok := s.body[name]
	return texts, ok
}

// bodyReader reads the body of a request according to its content type.
type bodyReader struct {
	known  map[string]bool
	rawXML bool // a bare XML document is the value xml
}

// readSources collects the known values. The query is there even if the body cannot
// be read: the token may be in it. Errors are errs.Invalid.
func (b *bodyReader) readSources(r *http.Request) (*sources, error) {
	s := &sources{}
	if len(r.URL.RawQuery) > maxQuery {
		return s, errs.Invalidf("the query has %d bytes, at most %d are allowed", len(r.URL.RawQuery), maxQuery)
	}
	var err error
	if s.query, err = b.parsePairs("query", r.URL.RawQuery); err != nil {
		return s, err
	}
	raw, err := readBody(r)
	if err != nil || len(raw) == 0 {
		return s, err
	}
	s.body, err = b.parseBody(r.Header.Get("Content-Type"), raw)
	return s, err
}

func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, errs.Invalidf("read the body: %w", err)
	}
	if len(raw) > maxBody {
		_, _ = io.CopyN(io.Discard, r.Body, maxDrain) // its end or its failure makes no difference
		return nil, errs.Invalidf("the body has more than %d bytes", maxBody)
	}
	return raw, nil
}

func (b *bodyReader) parseBody(contentType string, raw []byte) (pairs, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if contentType == "" {
		media = "none"
	} else if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return nil, errs.Invalidf("header Content-Type: %q is not a media type", model.Clip(contentType))
	}
	switch media {
	case "application/x-www-form-urlencoded":
		return b.parsePairs("form", string(raw))
	case "multipart/form-data":
		return b.parseMultipart(raw, params["boundary"])
	case "application/json":
		return b.parseJSON(raw)
	case "application/xml", "text/xml", "text/plain", "none":
		if b.rawXML {
			return pairs{"xml": {string(raw)}}, nil
		}
	}
	return nil, errs.Invalidf("a body of Content-Type %q is not understood: send a form (urlencoded or multipart) or a JSON object", model.Clip(media))
}

// parsePairs reads name=value&…. What is not a known name is skipped.
func (b *bodyReader) parsePairs(where, s string) (pairs, error) {
	if s == "" {
		return nil, nil
	}
	out := make(pairs)
	for part := range strings.SplitSeq(s, "&") {
		rawName, rawText, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil || !b.known[name] {
			continue
		}
		text, err := url.QueryUnescape(rawText)
		if err != nil {
			return out, errs.Invalidf("value %q in the %s: %w", name, where, err)
		}
		out[name] = append(out[name], text)
	}
	return out, nil
}

func (b *bodyReader) parseMultipart(raw []byte, boundary string) (pairs, error) {
	if boundary == "" {
		return nil, errs.Invalidf("header Content-Type: multipart/form-data without a boundary")
	}
	out := make(pairs)
	reader := multipart.NewReader(bytes.NewReader(raw), boundary)
	for {
		part, err := reader.NextPart()
		if err == io.EOF { // a wrapped one means that the form breaks off
			return out, nil
		}
		if err != nil {
			return out, errs.Invalidf("the multipart form is damaged: %w", err)
		}
		name := part.FormName()
		if !b.known[name] {
			continue
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return out, errs.Invalidf("value %q in the multipart form: %w", name, err)
		}
		out[name] = append(out[name], string(text))
	}
}

// parseJSON reads one object. Numbers and booleans are taken as their text, null as
// not given, a list as a value that was given several times.
func (b *bodyReader) parseJSON(raw []byte) (pairs, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errs.Invalidf("the body is not a JSON object")
	}
	out := make(pairs)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return out, errs.Invalidf("the JSON body is damaged: %w", err)
		}
		name, _ := t.(string)
		var element json.RawMessage
		if err := d.Decode(&element); err != nil {
			return out, errs.Invalidf("the JSON body is damaged at value %q: %w", model.Clip(name), err)
		}
		if !b.known[name] {
			continue
		}
		texts, err := jsonTexts(element)
		if err != nil {
			return out, errs.Invalidf("value %q in the JSON body: %w", name, err)
		}
		if len(texts) > 0 {
			out[name] = append(out[name], texts...)
		}
	}
	if _, err := d.Token(); err != nil {
		return out, errs.Invalidf("the JSON body is damaged: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return out, errs.Invalidf("the JSON body has something behind its object")
	}
	return out, nil
}

func jsonTexts(element json.RawMessage) ([]string, error) {
	if element[0] != '[' {
		text, given, err := jsonText(element)
		if err != nil || !given {
			return nil, err
		}
		return []string{text}, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(element, &list); err != nil {
		return nil, err
	}
	var out []string
	for _, e := range list {
		text, given, err := jsonText(e)
		if err != nil {
			return nil, err
		}
		if given {
			out = append(out, text)
		}
	}
	return out, nil
}

// jsonText returns the text of a scalar. A string that is not UTF-8 is handed on as
// it is, so that the check of values names it.
func jsonText(element json.RawMessage) (text string, given bool, err error) {
	switch element[0] {
	case 'n':
		return "", false, nil
	case '"':
		if err := checkText("", string(element)); err != nil {
			return string(element), true, nil
		}
		err := json.Unmarshal(element, &text)
		return text, true, err
	case '{', '[':
		return "", false, errors.New("a text, number or boolean is expected")
	}
	return string(element), true, nil
}
