package chaos

import "syscall"

// childAttributes: the child is killed when this process ends, however that happens. SIGKILL also ends a frozen one.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
