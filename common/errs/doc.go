// Package errs holds the five kinds of error that the daemons tell apart. An
// error keeps its kind while callers wrap it with what was being done; the HTTP
// API maps kinds to status codes in one table and nothing ever matches texts.
package errs
