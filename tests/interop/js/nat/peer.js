// A js-libp2p peer of the NAT tests: node peer.js relay|node LISTEN [ANNOUNCE...]
// It takes the commands of tests/interop/go/main.go, but "reach": js-libp2p asks AutoNAT v2 servers by itself about the
// addresses that it announces, whenever it connects to one. One command more:
//   {"do": "confirm"}   take the address that others saw QUIC come from for one of ours; js-libp2p itself tells of no
//                       address that AutoNAT did not prove, and AutoNAT proves none behind a NAT
// It speaks QUIC alone when LISTEN does, TCP alone otherwise.
import { createInterface } from 'node:readline'
import { noise } from '@chainsafe/libp2p-noise'
import { quic } from '@chainsafe/libp2p-quic'
import { yamux } from '@chainsafe/libp2p-yamux'
import { autoNATv2 } from '@libp2p/autonat-v2'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { dcutr } from '@libp2p/dcutr'
import { identify } from '@libp2p/identify'
import { peerIdFromPrivateKey, peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const ECHO = '/covey-test/echo/1'
const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')
const [role, address, ...appendAnnounce] = process.argv.slice(2)
const carrier = address.endsWith('/quic-v1') ? quic() : tcp()
const privateKey = await generateKeyPair('Ed25519')
let node

async function start (...circuits) {
  if (node != null) return
  node = await createLibp2p({
    privateKey,
    addresses: { listen: [address, ...circuits], appendAnnounce },
    transports: role === 'relay' ? [carrier] : [carrier, circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: {
      identify: identify(),
      ping: ping(),
      ...(role === 'relay' ? { relay: circuitRelayServer(), reachability: autoNATv2() } : { punch: dcutr(), reachability: autoNATv2() })
    }
  })
  await node.handle(ECHO, async (stream, connection) => {
    say({ event: 'called', direct: connection.direct, addr: connection.remoteAddr.toString() })
    for await (const chunk of stream) {
      if (!stream.send(chunk)) await stream.onDrain()
    }
    await stream.close()
  }, { runOnLimitedConnection: true })
}

async function reserve ({ relay }) {
  await start(`${relay}/p2p-circuit`)
  const told = () => {
    const found = node.getMultiaddrs().map(String).find((text) => text.includes('/p2p-circuit'))
    if (found == null) return
    node.removeEventListener('self:peer:update', told)
    say({ event: 'reserved', addr: found, voucher: true })
  }
  node.addEventListener('self:peer:update', told)
  told()
}

async function dial ({ addr, bytes }) {
  await start()
  const connection = await node.dial(multiaddr(addr))
  await echoOn(connection, bytes)
}

const connectionsTo = (peer) => node.getConnections(peerIdFromString(peer)).filter(({ status }) => status === 'open')

async function echo ({ peer, bytes }) {
  const standing = connectionsTo(peer)
  await echoOn(standing.find(({ direct }) => direct) ?? standing[0], bytes)
}

async function echoOn (connection, bytes) {
  const stream = await connection.newStream(ECHO, { runOnLimitedConnection: true })
  const sent = new Uint8Array(bytes).map((_, index) => (index * 31) & 0xff)
  stream.send(sent)
  const closing = stream.close()
  const chunks = []
  for await (const chunk of stream) chunks.push(chunk.subarray())
  await closing
  const received = Buffer.concat(chunks)
  say({ event: 'echoed', bytes: received.length, same: Buffer.compare(received, Buffer.from(sent)) === 0, direct: connection.direct, addr: connection.remoteAddr.toString() })
}

async function waitDirect ({ peer }) {
  const told = () => {
    const found = connectionsTo(peer).find(({ direct }) => direct)
    if (found == null) return
    node.removeEventListener('connection:open', told)
    say({ event: 'direct', addr: found.remoteAddr.toString() })
  }
  node.addEventListener('connection:open', told)
  told()
}

async function confirm () {
  await start()
  const { addressManager } = node.components
  const told = () => {
    const found = addressManager.getAddressesWithMetadata().find(({ type, multiaddr: at }) => type === 'observed' && at.toString().endsWith('/quic-v1'))
    if (found == null) return
    node.removeEventListener('peer:identify', told)
    addressManager.confirmObservedAddr(found.multiaddr)
    say({ event: 'confirmed', addr: found.multiaddr.toString() })
  }
  node.addEventListener('peer:identify', told)
  told()
}

const commands = { reserve, dial, echo, confirm, wait_direct: waitDirect }
if (role === 'relay') await start()
say({ event: 'ready', peer: peerIdFromPrivateKey(privateKey).toString(), addrs: node?.getMultiaddrs().map(String) ?? [] })
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  if (command.do === 'stop') break
  commands[command.do](command).catch((error) => {
    say({ event: 'failed', doing: command.do, error: String(error?.stack ?? error) })
  })
}
await node?.stop()
say({ event: 'stopped' })
process.exit(0)
