// A js-libp2p peer that is told on standard input what to do and says on standard output, one JSON object a line, what
// became of it.
//   {"do": "listen", "relay": "/ip4/.../p2p/RELAY"}     reserve at the relay and serve an echo on its circuit address
//   {"do": "dial", "addr": ".../p2p-circuit/p2p/PEER"}  open a circuit, echo `bytes` bytes, tell what came back
//   {"do": "stop"}
import { createInterface } from 'node:readline'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { webSockets } from '@libp2p/websockets'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const ECHO = '/covey-test/echo/1'
const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')
const limitsOf = ({ limits }) => limits && { bytes: Number(limits.bytes), seconds: limits.seconds }

const start = (listen) => createLibp2p({
  addresses: { listen },
  transports: [tcp(), webSockets(), circuitRelayTransport()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), ping: ping() }
})

let node

async function listen ({ relay }) {
  node = await start([`${relay}/p2p-circuit`])
  await node.handle(ECHO, async (stream, connection) => {
    say({ event: 'called', limits: limitsOf(connection), direct: connection.direct, addr: connection.remoteAddr.toString() })
    for await (const chunk of stream) {
      if (!stream.send(chunk)) await stream.onDrain()
    }
    await stream.close()
  }, { runOnLimitedConnection: true })
  const circuits = () => node.getMultiaddrs().map(String).filter((text) => text.includes('/p2p-circuit'))
  const told = () => {
    if (circuits().length === 0) return
    node.removeEventListener('self:peer:update', told)
    say({ event: 'listening', peer: node.peerId.toString(), addrs: circuits() })
  }
  node.addEventListener('self:peer:update', told)
  told()
}

async function dial ({ addr, bytes }) {
  node = await start([])
  const connection = await node.dial(multiaddr(addr))
  const stream = await connection.newStream(ECHO, { runOnLimitedConnection: true })
  const sent = new Uint8Array(bytes).map((_, index) => (index * 31 + (index >> 8)) & 0xff)
  const sending = (async () => {
    for (let at = 0; at < bytes; at += 8192) {
      if (!stream.send(sent.subarray(at, at + 8192))) await stream.onDrain()
    }
    await stream.close()
  })()
  const chunks = []
  for await (const chunk of stream) chunks.push(chunk.subarray())
  await sending
  const received = Buffer.concat(chunks)
  const rtt = await node.services.ping.ping(connection.remotePeer, { runOnLimitedConnection: true }).catch(() => null)
  say({ event: 'echoed', bytes: received.length, same: Buffer.compare(received, Buffer.from(sent)) === 0, limits: limitsOf(connection), direct: connection.direct, pinged: rtt != null })
}

async function stop () {
  await node?.stop()
  say({ event: 'stopped' })
  process.exit(0)
}

const commands = { listen, dial, stop }
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  try {
    await commands[command.do](command)
  } catch (error) {
    say({ event: 'failed', doing: command.do, error: String(error?.stack ?? error) })
  }
}
await stop()
