// A js-libp2p node: pings Covey's host, echoes a stream with it, tells what identify said. Commands and events are JSON
// lines: {do: "meet", addr, bytes} -> {event: "met", ...}; {do: "stop"} -> {event: "stopped"}.
import { createInterface } from 'node:readline'
import { noise } from '@chainsafe/libp2p-noise'
import { quic } from '@chainsafe/libp2p-quic'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { webSockets } from '@libp2p/websockets'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const ECHO = '/covey-test/echo/1'
const tell = (event, more = {}) => process.stdout.write(JSON.stringify({ event, ...more }) + '\n')

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0', '/ip4/127.0.0.1/tcp/0/ws', '/ip4/127.0.0.1/udp/0/quic-v1'] },
  transports: [tcp(), webSockets(), quic()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionGater: { denyDialMultiaddr: () => false },
  services: { identify: identify(), ping: ping() }
})

async function echo (connection, size) {
  const sent = new Uint8Array(size).map((_, index) => index % 251)
  const stream = await connection.newStream(ECHO)
  const back = []
  const reading = (async () => { for await (const chunk of stream) back.push(...chunk.subarray()) })()
  for (let at = 0; at < size; at += 16384) {
    if (!stream.send(sent.subarray(at, at + 16384))) await stream.onDrain()
  }
  await stream.close()
  await reading
  return back.length === size && back.every((byte, index) => byte === sent[index])
}

const known = {
  async meet ({ addr, bytes }) {
    const identified = new Promise(resolve => {
      node.addEventListener('peer:identify', event => resolve(event.detail), { once: true })
    })
    const rtt = await node.services.ping.ping(multiaddr(addr))
    const [connection] = node.getConnections()
    const said = await identified
    tell('met', {
      rtt,
      same: await echo(connection, bytes),
      protocols: said.protocols,
      seenAt: String(said.observedAddr),
      encryption: connection.encryption,
      multiplexer: connection.multiplexer
    })
  },
  async stop () {
    await node.stop()
    tell('stopped')
    process.exit(0)
  }
}

await node.handle(ECHO, async (stream) => {
  for await (const chunk of stream) {
    if (!stream.send(chunk)) await stream.onDrain()
  }
  await stream.close()
})
tell('up', { peer: node.peerId.toString(), addrs: node.getMultiaddrs().map(String) })
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  try {
    await known[command.do](command)
  } catch (error) {
    tell('failed', { error: String(error.stack) })
  }
}
