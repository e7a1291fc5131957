package grange

import (
	"context"

	"github.com/grange-grid/grange/edge/boot"
)

// serviceName is what this machine's service manager calls an agent.
const serviceName = "grange"

// ServiceFile returns where the service is, or would be, written down.
// Errors: fs.ErrNotExist where there is no service manager that is known here.
func ServiceFile() (string, error) {
	m, err := boot.Here()
	return m.File(serviceName), err
}

// ErrSession says that a service runs only while its user is logged in.
var ErrSession = boot.ErrSession

// InstallService has this machine's service manager, systemd or launchd, run a command now and
// at every boot, in the place of what it ran as this service before. It returns the
// file that it has written, also where the manager then failed. Errors: those of ServiceFile; ErrSession if it runs now and not at boot.
func InstallService(ctx context.Context, command []string) (file string, err error) {
	m, err := boot.Here()
	if err != nil {
		return "", err
	}
	return m.Install(ctx, boot.Program{Name: serviceName, About: "grange: your files on friends' disks, theirs on yours", Command: command})
}

// RemoveService stops the service, and has it started no more. Errors: fs.ErrNotExist if
// there is none.
func RemoveService(ctx context.Context) (file string, err error) {
	m, err := boot.Here()
	if err != nil {
		return "", err
	}
	return m.Remove(ctx, serviceName)
}
