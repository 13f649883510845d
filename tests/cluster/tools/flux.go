package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/normalize"
	"github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

const (
	interval = 100 * time.Millisecond
	patience = 20 * time.Second
)

// As Flux's kustomize-controller has it.
var owner = ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"}

// What became of an object.
type change struct {
	Subject string `json:"subject"`
	Action  string `json:"action"`
}

// serverSideApply applies, waits for, or prunes a set as Flux's kustomize-controller does.
func serverSideApply(ctx context.Context, verb, kubeconfig string, in io.Reader) error {
	manager, err := newManager(kubeconfig)
	if err != nil {
		return err
	}
	objects, err := utils.ReadObjects(in)
	if err != nil {
		return err
	}
	if err := normalize.UnstructuredList(objects); err != nil {
		return err
	}
	manager.SetOwnerLabels(objects, "research", "flux-system")
	wait := ssa.WaitOptions{Interval: interval, Timeout: patience, FailFast: true}
	switch verb {
	case "apply":
		options := ssa.DefaultApplyOptions()
		options.WaitInterval, options.WaitTimeout = interval, patience
		changes, err := manager.ApplyAllStaged(ctx, objects, options)
		return told(changes, err)
	case "wait":
		return manager.Wait(objects, wait)
	case "prune":
		options := ssa.DefaultDeleteOptions()
		options.Inclusions = manager.GetOwnerLabels("research", "flux-system")
		options.Exclusions = map[string]string{owner.Group + "/prune": "disabled"}
		changes, err := manager.DeleteAll(ctx, objects, options)
		if err := told(changes, err); err != nil {
			return err
		}
		return manager.WaitForSetTermination(changes, wait)
	}
	return fmt.Errorf(usage)
}

func newManager(kubeconfig string) (*ssa.ResourceManager, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, http)
	if err != nil {
		return nil, err
	}
	kube, err := client.New(config, client.Options{Mapper: mapper, HTTPClient: http})
	if err != nil {
		return nil, err
	}
	poller := polling.NewStatusPoller(kube, mapper, polling.Options{})
	return ssa.NewResourceManager(kube, poller, owner), nil
}

func told(changes *ssa.ChangeSet, err error) error {
	if changes != nil {
		for _, entry := range changes.Entries {
			if err := say(change{entry.Subject, entry.Action.String()}); err != nil {
				return err
			}
		}
	}
	return err
}
