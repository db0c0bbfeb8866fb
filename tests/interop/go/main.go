// A go-libp2p peer that is told on standard input what to do and says on standard output, one JSON object a line, what
// became of it. It speaks what the reference implementation speaks: circuit relay v2, DCUtR, AutoNAT v2, identify.
//
//	peer relay|node [LISTEN...]
//
//	{"do": "reserve", "relay": "/ip4/.../p2p/RELAY"}    take a slot at the relay; serve an echo on its circuit address
//	{"do": "dial", "addr": ".../p2p-circuit/p2p/PEER"}  open a circuit, or a connection, and echo `bytes` bytes over it
//	{"do": "await_punching"}                            wait until holes would be punched
//	{"do": "echo", "peer": "PEER", "bytes": 1000}       echo over the best connection that stands
//	{"do": "wait_direct", "peer": "PEER"}               wait until a direct connection to the peer stands
//	{"do": "reach", "server": "/ip4/.../p2p/SERVER", "addr": "/ip4/..."}   ask an AutoNAT v2 server about an address
//	{"do": "stop"}
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/autonatv2"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/multiformats/go-multiaddr"
)

const (
	echo     = "/covey-test/echo/1"
	patience = 60 * time.Second
)

var saying sync.Mutex

func say(event string, fields map[string]any) {
	saying.Lock()
	defer saying.Unlock()
	line := map[string]any{"event": event}
	for key, value := range fields {
		line[key] = value
	}
	_ = json.NewEncoder(os.Stdout).Encode(line)
}

type command struct {
	Do     string
	Relay  string
	Server string
	Addr   string
	Peer   string
	Bytes  int
}

type tracer struct{}

func (tracer) Trace(event *holepunch.Event) {
	say("punch", map[string]any{"type": event.Type, "detail": event.Evt})
}

func relayed(connection network.Conn) bool {
	_, err := connection.RemoteMultiaddr().ValueForProtocol(multiaddr.P_CIRCUIT)
	return err == nil
}

func start(role string, listen []string) (host.Host, *autonatv2.AutoNAT, error) {
	options := []libp2p.Option{libp2p.ListenAddrStrings(listen...), libp2p.DisableMetrics()}
	if role == "relay" {
		options = append(options, libp2p.ForceReachabilityPublic())
	} else {
		options = append(options, libp2p.ForceReachabilityPrivate(), libp2p.EnableHolePunching(holepunch.WithTracer(tracer{})))
	}
	node, err := libp2p.New(options...)
	if err != nil {
		return nil, nil, err
	}
	if role == "relay" {
		if _, err := relay.New(node); err != nil {
			return nil, nil, err
		}
	}
	dialer, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableMetrics())
	if err != nil {
		return nil, nil, err
	}
	reachability, err := autonatv2.New(dialer)
	if err != nil {
		return nil, nil, err
	}
	if err := reachability.Start(node); err != nil {
		return nil, nil, err
	}
	node.SetStreamHandler(echo, func(stream network.Stream) {
		say("called", map[string]any{"direct": !relayed(stream.Conn()), "addr": stream.Conn().RemoteMultiaddr().String()})
		if _, err := io.Copy(stream, stream); err != nil {
			_ = stream.Reset()
			return
		}
		_ = stream.Close()
	})
	return node, reachability, nil
}

func do(ctx context.Context, node host.Host, reachability *autonatv2.AutoNAT, order command) error {
	switch order.Do {
	case "reserve":
		info, err := peer.AddrInfoFromString(order.Relay)
		if err != nil {
			return err
		}
		if err := node.Connect(ctx, *info); err != nil {
			return err
		}
		slot, err := client.Reserve(ctx, node, *info)
		if err != nil {
			return err
		}
		circuit := fmt.Sprintf("%s/p2p-circuit/p2p/%s", order.Relay, node.ID())
		say("reserved", map[string]any{"expires": slot.Expiration.Unix(), "voucher": slot.Voucher != nil, "addr": circuit})
	case "dial":
		info, err := peer.AddrInfoFromString(order.Addr)
		if err != nil {
			return err
		}
		if err := node.Connect(network.WithAllowLimitedConn(ctx, "test"), *info); err != nil {
			return err
		}
		return echoed(ctx, node, info.ID, order.Bytes)
	case "echo":
		other, err := peer.Decode(order.Peer)
		if err != nil {
			return err
		}
		return echoed(ctx, node, other, order.Bytes)
	case "await_punching":
		return punches(ctx, node)
	case "wait_direct":
		other, err := peer.Decode(order.Peer)
		if err != nil {
			return err
		}
		return direct(ctx, node, other)
	case "reach":
		return reach(ctx, node, reachability, order)
	default:
		return fmt.Errorf("nobody knows how to %q", order.Do)
	}
	return nil
}

// punches waits until the node punches holes: go-libp2p begins when it has learnt a public address of its own.
func punches(ctx context.Context, node host.Host) error {
	for !slices.Contains(node.Mux().Protocols(), holepunch.Protocol) {
		select {
		case <-ctx.Done():
			return errors.New("no public address was learnt")
		case <-time.After(10 * time.Millisecond):
		}
	}
	say("punches", nil)
	return nil
}

func echoed(ctx context.Context, node host.Host, other peer.ID, count int) error {
	stream, err := node.NewStream(network.WithAllowLimitedConn(ctx, "test"), other, echo)
	if err != nil {
		return err
	}
	sent := bytes.Repeat([]byte("covey"), count/5+1)[:count]
	go func() {
		_, _ = stream.Write(sent)
		_ = stream.CloseWrite()
	}()
	received, err := io.ReadAll(stream)
	if err != nil {
		return err
	}
	say("echoed", map[string]any{
		"bytes": len(received), "same": bytes.Equal(sent, received), "direct": !relayed(stream.Conn()),
		"addr": stream.Conn().RemoteMultiaddr().String(),
	})
	return stream.Close()
}

func direct(ctx context.Context, node host.Host, other peer.ID) error {
	for {
		for _, connection := range node.Network().ConnsToPeer(other) {
			if !relayed(connection) {
				say("direct", map[string]any{"addr": connection.RemoteMultiaddr().String()})
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return errors.New("no direct connection came")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func reach(ctx context.Context, node host.Host, reachability *autonatv2.AutoNAT, order command) error {
	info, err := peer.AddrInfoFromString(order.Server)
	if err != nil {
		return err
	}
	if err := node.Connect(ctx, *info); err != nil {
		return err
	}
	asked, err := multiaddr.NewMultiaddr(order.Addr)
	if err != nil {
		return err
	}
	for { // the server is known once it has been identified
		result, err := reachability.GetReachability(ctx, []autonatv2.Request{{Addr: asked, SendDialData: true}})
		if err == nil {
			say("reached", map[string]any{"reachability": result.Reachability.String(), "refused": result.AllAddrsRefused})
			return nil
		}
		if !errors.Is(err, autonatv2.ErrNoPeers) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func main() {
	if len(os.Args) < 2 || (os.Args[1] != "relay" && os.Args[1] != "node") {
		fmt.Fprintln(os.Stderr, "usage: peer relay|node [LISTEN...]")
		os.Exit(2)
	}
	node, reachability, err := start(os.Args[1], os.Args[2:])
	if err != nil {
		say("failed", map[string]any{"doing": "start", "error": err.Error()})
		os.Exit(1)
	}
	addrs := []string{}
	for _, addr := range node.Addrs() {
		addrs = append(addrs, fmt.Sprintf("%s/p2p/%s", addr, node.ID()))
	}
	say("ready", map[string]any{"peer": node.ID().String(), "addrs": addrs})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var order command
		if err := json.Unmarshal(lines.Bytes(), &order); err != nil || order.Do == "stop" {
			break
		}
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := do(ctx, node, reachability, order); err != nil {
				say("failed", map[string]any{"doing": order.Do, "error": err.Error()})
			}
		}()
	}
	reachability.Close()
	_ = node.Close()
	say("stopped", nil)
}
