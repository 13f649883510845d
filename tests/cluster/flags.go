package main

import (
	"os"
	"path/filepath"
	"strconv"
)

const (
	serviceNetwork = "10.96.0.0/16"
	serviceIP      = "10.96.0.1"
)

// auditPolicy writes one line for each request, when it has been answered.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

func apiServerFlags(pki, etcd string, port int, o options) ([]string, error) {
	file := func(name string) string { return filepath.Join(pki, name) }
	flags := []string{
		"--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(port),
		// The supervisor holds the port until then.
		"--permit-port-sharing=true",
		// An endpoint may not be a loopback address; and there is no pod that would use it.
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=" + serviceNetwork,
		"--allow-privileged=true",

		"--tls-cert-file=" + file("apiserver.crt"),
		"--tls-private-key-file=" + file("apiserver.key"),
		"--client-ca-file=" + file("ca.crt"),
		"--kubelet-certificate-authority=" + file("ca.crt"),
		"--kubelet-client-certificate=" + file("kubelet-client.crt"),
		"--kubelet-client-key=" + file("kubelet-client.key"),
		"--requestheader-client-ca-file=" + file("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + file("front-proxy-client.crt"),
		"--proxy-client-key-file=" + file("front-proxy-client.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + file("service-account.pub"),
		"--service-account-signing-key-file=" + file("service-account.key"),

		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		// So high that a benchmark measures the client and not the queue.
		"--max-requests-inflight=2000",
		"--max-mutating-requests-inflight=1000",
	}
	if o.authentication != "" {
		// Only adds to the above. There is no --anonymous-auth among it, with which a file that says something of anonymous
		// requests would be refused.
		flags = append(flags, "--authentication-config="+o.authentication)
	}
	if o.auditLog != "" {
		policy := file("audit-policy.yaml")
		if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
			return nil, err
		}
		// Large enough that it is never cut in the middle of a run.
		flags = append(flags, "--audit-policy-file="+policy, "--audit-log-path="+o.auditLog, "--audit-log-maxsize=10240")
	}
	return flags, nil
}

func controllerManagerFlags(pki, plugins, kubeconfig string) []string {
	file := func(name string) string { return filepath.Join(pki, name) }
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--secure-port=0",
		"--leader-elect=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + file("service-account.key"),
		"--root-ca-file=" + file("ca.crt"),
		"--cluster-signing-cert-file=" + file("ca.crt"),
		"--cluster-signing-key-file=" + file("ca.key"),
		"--service-cluster-ip-range=" + serviceNetwork,
		// It makes this folder, by default in a place of the system.
		"--flex-volume-plugin-dir=" + plugins,
		"--kube-api-qps=2000",
		"--kube-api-burst=4000",
	}
}

func schedulerFlags(kubeconfig string) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--secure-port=0",
		"--leader-elect=false",
		"--kube-api-qps=2000",
		"--kube-api-burst=4000",
	}
}
