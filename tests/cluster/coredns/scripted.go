package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// mostAliases is how many aliases one answer follows.
const mostAliases = 8

// entry is what a name is answered.
type entry struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
	TTL       uint32   `json:"ttl"`
	// Alias is another name, by a CNAME.
	Alias string `json:"alias"`
	// Rcode is answered instead: SERVFAIL, NXDOMAIN, REFUSED.
	Rcode string `json:"rcode"`
	// DelayMilliseconds pass before the answer.
	DelayMilliseconds int `json:"delayMilliseconds"`
	// AtATime is how many of the addresses one answer has, the next answer going on where it ended; all, where it is 0.
	AtATime int `json:"atATime"`
	// Truncate answers nothing over UDP but that there is more.
	Truncate bool `json:"truncate"`
}

// zone is what all names are answered.
type zone struct {
	sync.Mutex
	entries map[string]entry
	// asked counts the questions for IPv4 addresses, by name.
	asked map[string]int
	// turn is where the next answer of a name begins.
	turn map[string]int
}

var theZone = zone{entries: map[string]entry{}, asked: map[string]int{}, turn: map[string]int{}}

type scripted struct{}

func init() { plugin.Register("scripted", setup) }

func setup(c *caddy.Controller) error {
	dnsserver.GetConfig(c).AddPlugin(func(plugin.Handler) plugin.Handler { return scripted{} })
	return nil
}

func (scripted) Name() string { return "scripted" }

func (scripted) ServeDNS(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: r}
	reply, wait := theZone.answer(state.Name(), state.QType(), state.Proto() == "udp")
	time.Sleep(wait)
	rcode := reply.Rcode
	reply.SetReply(r)
	reply.Rcode, reply.Authoritative, reply.RecursionAvailable = rcode, true, true
	if reply.Truncated {
		reply.Answer = nil
	} else {
		state.SizeAndDo(reply)
		reply = state.Scrub(reply)
	}
	return dns.RcodeSuccess, w.WriteMsg(reply)
}

// answer is what a name is answered now, and after how long.
func (z *zone) answer(name string, kind uint16, udp bool) (*dns.Msg, time.Duration) {
	z.Lock()
	defer z.Unlock()
	reply, wait := new(dns.Msg), time.Duration(0)
	if kind == dns.TypeA {
		z.asked[name]++
	}
	for range mostAliases {
		e, known := z.entries[name]
		if !known {
			reply.Rcode = dns.RcodeNameError
			return reply, wait
		}
		wait += time.Duration(e.DelayMilliseconds) * time.Millisecond
		reply.Truncated = reply.Truncated || (e.Truncate && udp)
		if e.Rcode != "" {
			reply.Rcode = dns.StringToRcode[e.Rcode]
			return reply, wait
		}
		if e.Alias == "" {
			reply.Answer = append(reply.Answer, z.addresses(e, name, kind)...)
			return reply, wait
		}
		header := dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: e.TTL}
		name = dns.Fqdn(e.Alias)
		reply.Answer = append(reply.Answer, &dns.CNAME{Hdr: header, Target: name})
	}
	return reply, wait
}

func (z *zone) addresses(e entry, name string, kind uint16) []dns.RR {
	var all []dns.RR
	for _, text := range e.Addresses {
		address := net.ParseIP(text)
		header := dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: e.TTL}
		switch v4 := address.To4(); {
		case kind == dns.TypeA && v4 != nil:
			all = append(all, &dns.A{Hdr: header, A: v4})
		case kind == dns.TypeAAAA && v4 == nil:
			all = append(all, &dns.AAAA{Hdr: header, AAAA: address})
		}
	}
	if e.AtATime == 0 || len(all) == 0 {
		return all
	}
	some := make([]dns.RR, 0, e.AtATime)
	for range e.AtATime {
		some = append(some, all[z.turn[name]%len(all)])
		z.turn[name]++
	}
	return some
}

// listen takes what the tests write: an entry, or a question how often a name was asked for.
func listen() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			entry
			Asked bool `json:"asked"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			fmt.Printf("> %v\n", err)
			continue
		}
		name := strings.ToLower(dns.Fqdn(line.Name))
		theZone.Lock()
		if !line.Asked {
			theZone.entries[name] = line.entry
		}
		asked := theZone.asked[name]
		theZone.Unlock()
		fmt.Printf("> %d\n", asked)
	}
	os.Exit(0)
}
