package libvirt

import (
	"errors"

	lv "libvirt.org/go/libvirt"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// kinds maps libvirt's error numbers (virErrorNumber). All others are ours to
// understand: errs.Internal. libvirt's own words are kept in any case.
var kinds = map[lv.ErrorNumber]errs.Kind{
	lv.ERR_NO_DOMAIN:             errs.NotFound,
	lv.ERR_OPERATION_INVALID:     errs.Conflict,
	lv.ERR_OPERATION_FAILED:      errs.Conflict,
	lv.ERR_DOM_EXIST:             errs.Conflict,
	lv.ERR_RESOURCE_BUSY:         errs.Conflict,
	lv.ERR_OPERATION_TIMEOUT:     errs.Conflict,
	lv.ERR_OPERATION_ABORTED:     errs.Conflict,
	lv.ERR_MIGRATE_UNSAFE:        errs.Conflict,
	lv.ERR_XML_ERROR:             errs.Invalid,
	lv.ERR_XML_DETAIL:            errs.Invalid,
	lv.ERR_CONFIG_UNSUPPORTED:    errs.Invalid,
	lv.ERR_OS_TYPE:               errs.Invalid,
	lv.ERR_INVALID_ARG:           errs.Invalid,
	lv.ERR_CPU_INCOMPATIBLE:      errs.Conflict,
	lv.ERR_NO_SECRET:             errs.NotFound,
	lv.ERR_INVALID_SECRET:        errs.Invalid,
	lv.ERR_NO_CONNECT:            errs.Unavailable,
	lv.ERR_AUTH_FAILED:           errs.Denied,
	lv.ERR_OPERATION_DENIED:      errs.Denied,
	lv.ERR_ACCESS_DENIED:         errs.Denied,
	lv.ERR_OPERATION_UNSUPPORTED: errs.Invalid,
	lv.ERR_ARGUMENT_UNSUPPORTED:  errs.Invalid,
}

// classify gives an error of libvirt its kind and keeps its words. Whether *our*
// connection was lost is asked of the connection, not of the error: a migration whose
// peer is lost fails with the same number.
func classify(err error, alive bool, e effect) error {
	var of lv.Error
	isOfLibvirt := errors.As(err, &of)
	switch {
	case errors.Is(err, errHung):
		return errs.New(lostKind(e), "libvirt does not answer: %w", err)
	case !alive && isOfLibvirt:
		return errs.New(lostKind(e), "the connection to libvirt was lost: %s", of.Message)
	case isOfLibvirt:
		return errs.New(kinds[of.Code], "%s", of.Message)
	}
	return err
}

// lostKind is the kind of a call without an answer.
func lostKind(e effect) errs.Kind {
	if e == changes {
		return errs.Unknown
	}
	return errs.Unavailable
}

// isNumber reports whether err is libvirt's error n.
func isNumber(err error, n lv.ErrorNumber) bool {
	var of lv.Error
	return errors.As(err, &of) && of.Code == n
}
