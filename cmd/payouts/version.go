package main

import (
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "version",
		Short: "Show what this binary was built from",
		Example: `  payouts version
  payouts version -o json`,
		Args: usage(cobra.NoArgs),
	}
	var format outputFormat
	format.addFlag(command)
	command.RunE = func(*cobra.Command, []string) error {
		v := versionOf(debug.ReadBuildInfo())
		return a.print(format, v, func(p *printer) {
			p.fact("payouts", v.Version)
			p.fact("revision", v.Revision+map[bool]string{true: " (with changes)"}[v.Modified])
			p.fact("go", v.Go)
			p.fact("temporal sdk", v.TemporalSDK)
		})
	}
	return command
}

type version struct {
	Version     string `json:"version"`
	Revision    string `json:"revision,omitempty"`
	Modified    bool   `json:"modified"`
	Go          string `json:"go"`
	TemporalSDK string `json:"temporal_sdk,omitempty"`
}

// versionOf needs no flags at link time: the go command writes all of it into the binary.
func versionOf(info *debug.BuildInfo, known bool) version {
	if !known {
		return version{Version: "unknown", Go: "unknown"}
	}
	v := version{Version: info.Main.Version, Go: info.GoVersion}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			v.Revision = setting.Value
		case "vcs.modified":
			v.Modified = setting.Value == "true"
		}
	}
	for _, dependency := range info.Deps {
		if dependency.Path == "go.temporal.io/sdk" {
			v.TemporalSDK = dependency.Version
		}
	}
	return v
}
