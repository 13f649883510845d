// Command coredns is CoreDNS with a zone that the tests write: each line of standard input sets what a name is answered,
// and each is answered with a line. It ends when standard input does.
package main

import (
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
)

func main() {
	dnsserver.Directives = []string{"bind", "errors", "scripted"}
	go listen()
	coremain.Run()
}
