// Package worker builds a Temporal worker that carries out payouts, with
// options that keep money safe.
package worker

import (
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/activities"
	"pikepayouts/payout"
	"pikepayouts/workflows"
)

// stopTimeout lets calls in flight end when the worker is stopped; cutting one makes its outcome unknown (hazard A17).
// It is longer than the longest activity: two HTTP calls of 30s.
const stopTimeout = 75 * time.Second

// Options are what a worker needs beside a Temporal client.
type Options struct {
	// TaskQueue is payout.DefaultTaskQueue if empty.
	TaskQueue string
	// Pike is the provider's client.
	Pike activities.Pike
	// RateLimit bounds Pike calls per second over all workers of the task queue; 0 is no limit.
	// Temporal counts activities, of which confirm and cancel make two calls each: a happy payout makes five calls in four.
	RateLimit float64
	// ObserveOnly holds every start, confirm and cancel, while status reads go on.
	ObserveOnly bool
	// DataConverter is the one that the Temporal client was built with, the SDK's default if nil.
	DataConverter converter.DataConverter
	// Version is the deployment version; zero is none.
	Version sdkworker.WorkerDeploymentVersion
}

// New returns a worker with everything registered. It is not started.
func New(c client.Client, options Options) sdkworker.Worker {
	if options.TaskQueue == "" {
		options.TaskQueue = payout.DefaultTaskQueue
	}
	if options.DataConverter == nil {
		options.DataConverter = converter.GetDefaultDataConverter()
	}
	w := sdkworker.New(c, options.TaskQueue, sdkworker.Options{
		WorkerStopTimeout:            stopTimeout,
		TaskQueueActivitiesPerSecond: options.RateLimit,
		WorkflowPanicPolicy:          sdkworker.BlockWorkflow, // a bug must stop payouts, not fail them (hazard T6)
		DisableRegistrationAliasing:  true,
		// A started activity would be lost with the worker that ends a workflow task, and cost its payout a settle
		// delay; and the schedule-to-start latency would not show that workers are too few (Temporal 1.32 and newer).
		DisableEagerActivities: true,
		DeploymentOptions:      deploymentOptions(options.Version),
	})
	Register(w, activities.New(activities.Config{
		Pike: options.Pike, Runs: activities.NewRuns(c, options.DataConverter), ObserveOnly: options.ObserveOnly,
	}))
	return w
}

// deploymentOptions pin every payout to the build on which it started: no other one ever replays it (hazard T5).
// One that waits for weeks stays there too, also when it continues as new: that build must run until it has ended.
func deploymentOptions(version sdkworker.WorkerDeploymentVersion) sdkworker.DeploymentOptions {
	if version == (sdkworker.WorkerDeploymentVersion{}) {
		return sdkworker.DeploymentOptions{}
	}
	return sdkworker.DeploymentOptions{UseVersioning: true, Version: version, DefaultVersioningBehavior: workflow.VersioningBehaviorPinned}
}

// Register registers the workflows and their activities under their public names.
func Register(registry sdkworker.Registry, a *activities.Activities) {
	registry.RegisterWorkflowWithOptions(workflows.PayoutWorkflow, workflow.RegisterOptions{Name: payout.WorkflowType})
	registry.RegisterWorkflowWithOptions(workflows.LateEventWorkflow, workflow.RegisterOptions{Name: payout.LateEventWorkflowType})
	registry.RegisterActivityWithOptions(a, activity.RegisterOptions{})
}
