//go:build !linux

package main

import "syscall"

// childAttributes: only Linux can tie a child's life to its parent's. A Ctrl-C
// in the terminal reaches the child too, which ends it just as well.
func childAttributes() *syscall.SysProcAttr { return nil }
