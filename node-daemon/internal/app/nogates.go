//go:build !gates

package app

import "github.com/parallelvirtualcluster/pvc/node-daemon/internal/vmctl"

func gate(string, vmctl.Action) {}

func hold(string) {}
