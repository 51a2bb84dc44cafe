// Package config reads the configuration files of the two daemons, pvcd.yaml and
// pvc-api.yaml.
//
// A file is read strictly: every key is looked up in one table (nodeEntries,
// apiEntries) that also holds its type, its limits and whether it may be missing;
// what is not in the table is an error that names file, line, key and what was
// expected, and all errors of a file are reported together. Files of PVC 0.5 are
// valid: their keys that mean nothing to these daemons are in the table as inert
// and are reported as warnings.
//
// In every place the empty value, null and the word None mean "not set".
package config
