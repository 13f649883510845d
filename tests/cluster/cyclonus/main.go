// Command cyclonus answers what NetworkPolicies allow, by the evaluator of https://github.com/mattfenwick/cyclonus, as a
// second opinion for tests.
//
// Each line of standard input is a case in JSON; each line of standard output is its answer: for every flow, whether it
// may leave and whether it may enter.
//
// Whether a selector matches is asked of Kubernetes' own library, because Cyclonus differs from it: it says of NotIn that
// a label that is not there does not match. So each selector becomes a label that is on what it matches.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

type question struct {
	Namespaces map[string]map[string]string  `json:"namespaces"`
	Pods       []pod                         `json:"pods"`
	Policies   []*networkingv1.NetworkPolicy `json:"policies"`
	Flows      []flow                        `json:"flows"`
}

type pod struct {
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"`
	Ports     []struct {
		Name     string          `json:"name"`
		Protocol corev1.Protocol `json:"protocol"`
		Port     int             `json:"port"`
	} `json:"ports"`
}

type flow struct {
	From     end             `json:"from"`
	To       end             `json:"to"`
	Protocol corev1.Protocol `json:"protocol"`
	Port     int             `json:"port"`
}

type end struct {
	Address string `json:"address"`
	// The position of the pod; absent outside of the cluster.
	Pod *int `json:"pod"`
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return
		}
		if err != nil && err != io.EOF {
			fail(err)
		}
		var q question
		if err := json.Unmarshal(line, &q); err != nil {
			fail(err)
		}
		answer, err := ask(&q)
		if err != nil {
			fail(err)
		}
		if err := out.Encode(answer); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "cyclonus: %v\n", err)
	os.Exit(1)
}

// ask answers a question, flow by flow: may it leave, may it enter.
func ask(q *question) ([][2]bool, error) {
	podLabels, namespaceLabels, err := rewrite(q)
	if err != nil {
		return nil, err
	}
	policy := matcher.BuildNetworkPolicies(false, q.Policies)
	answers := make([][2]bool, 0, len(q.Flows))
	peer := func(e end) *matcher.TrafficPeer {
		if e.Pod == nil {
			return &matcher.TrafficPeer{IP: e.Address}
		}
		namespace := q.Pods[*e.Pod].Namespace
		return &matcher.TrafficPeer{IP: e.Address, Internal: &matcher.InternalPeer{
			PodLabels:       podLabels[*e.Pod],
			NamespaceLabels: namespaceLabels[namespace],
			Namespace:       namespace,
		}}
	}
	for _, f := range q.Flows {
		result := policy.IsTrafficAllowed(&matcher.Traffic{
			Source:           peer(f.From),
			Destination:      peer(f.To),
			ResolvedPort:     f.Port,
			ResolvedPortName: portName(q, &f),
			Protocol:         f.Protocol,
		})
		answers = append(answers, [2]bool{result.Egress.IsAllowed(), result.Ingress.IsAllowed()})
	}
	return answers, nil
}

// portName is the name that the pod which is reached gives to a port.
func portName(q *question, f *flow) string {
	if f.To.Pod == nil {
		return ""
	}
	for _, port := range q.Pods[*f.To.Pod].Ports {
		if port.Port == f.Port && port.Protocol == f.Protocol {
			return port.Name
		}
	}
	return ""
}

// rewrite puts a label on what each selector matches, and makes it the selector.
func rewrite(q *question) ([]map[string]string, map[string]map[string]string, error) {
	pods := make([]map[string]string, len(q.Pods))
	for at := range pods {
		pods[at] = map[string]string{}
	}
	namespaces := map[string]map[string]string{}
	for name := range q.Namespaces {
		namespaces[name] = map[string]string{}
	}
	count := 0
	mark := func(selector *metav1.LabelSelector, each func(labels.Selector, string)) error {
		if selector == nil {
			return nil
		}
		meant, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil {
			return err
		}
		count++
		key := fmt.Sprintf("selector-%d", count)
		each(meant, key)
		*selector = metav1.LabelSelector{MatchLabels: map[string]string{key: "matches"}}
		return nil
	}
	ofPods := func(meant labels.Selector, key string) {
		for at, pod := range q.Pods {
			if meant.Matches(labels.Set(pod.Labels)) {
				pods[at][key] = "matches"
			}
		}
	}
	ofNamespaces := func(meant labels.Selector, key string) {
		for name, all := range q.Namespaces {
			if meant.Matches(labels.Set(all)) {
				namespaces[name][key] = "matches"
			}
		}
	}
	peers := func(all []networkingv1.NetworkPolicyPeer) error {
		for at := range all {
			if err := mark(all[at].PodSelector, ofPods); err != nil {
				return err
			}
			if err := mark(all[at].NamespaceSelector, ofNamespaces); err != nil {
				return err
			}
		}
		return nil
	}
	for _, policy := range q.Policies {
		if err := mark(&policy.Spec.PodSelector, ofPods); err != nil {
			return nil, nil, err
		}
		for at := range policy.Spec.Ingress {
			if err := peers(policy.Spec.Ingress[at].From); err != nil {
				return nil, nil, err
			}
		}
		for at := range policy.Spec.Egress {
			if err := peers(policy.Spec.Egress[at].To); err != nil {
				return nil, nil, err
			}
		}
	}
	return pods, namespaces, nil
}
