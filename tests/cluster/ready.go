package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

var errStopped = errors.New("stopped before the cluster was ready")

// waitFor asks until check agrees, a component ends, or somebody stops us.
func (c *cluster) waitFor(what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.stop:
			return errStopped
		case name := <-c.died:
			return c.deathOf(name)
		case <-ctx.Done():
			return fmt.Errorf("%s did not happen within 2 minutes: %w\n%s", what, err, c.tails())
		}
	}
}

func (c *cluster) client() (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	return kubernetes.NewForConfig(config)
}

func (c *cluster) waitForAPI(client *kubernetes.Clientset) error {
	return c.waitFor("the API server's readiness", func(ctx context.Context) error {
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
}

// waitForControllers waits for the work of three controllers in the namespaces that everybody counts on.
func (c *cluster) waitForControllers(client *kubernetes.Clientset) error {
	ca, err := os.ReadFile(c.data.file("pki", "ca.crt"))
	if err != nil {
		return err
	}
	return c.waitFor("the work of the controllers in the system namespaces", func(ctx context.Context) error {
		for _, ns := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
			if _, err := client.CoreV1().ServiceAccounts(ns).Get(ctx, "default", metav1.GetOptions{}); err != nil {
				return err
			}
			trusted, err := client.CoreV1().ConfigMaps(ns).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
			if err != nil {
				return err
			}
			// Of data that was copied it is the one of another cluster at first.
			if trusted.Data["ca.crt"] != string(ca) {
				return fmt.Errorf("the authority that pods of %s trust is another one", ns)
			}
		}
		return nil
	})
}
