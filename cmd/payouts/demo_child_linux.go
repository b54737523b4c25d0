package main

import "syscall"

// childAttributes: the child ends when this process does, however that happens,
// and a Ctrl-C in the terminal reaches this process only, which then stops things in order.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}
