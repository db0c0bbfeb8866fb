// A js-libp2p peer with a Kademlia DHT, told on standard input what to do; it says on standard output, one JSON object a
// line, what became of it.
//   {"do": "start", "protocol": "/covey/.../kad/1.0.0", "seed": "/ip4/.../p2p/SEED", "serve": false}
//   {"do": "find", "peer": "12D3..."}                   where a DHT server is
//   {"do": "closest", "key": "..."}                     the servers nearest to a key
//   {"do": "put", "key": "/c/...", "value": "<hex>"}    who took it
//   {"do": "get", "key": "/c/..."}
//   {"do": "stop"}
import { createInterface } from 'node:readline'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { bootstrap } from '@libp2p/bootstrap'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { peerIdFromString } from '@libp2p/peer-id'
import { createLibp2p } from 'libp2p'

const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')
const hex = (bytes) => Buffer.from(bytes).toString('hex')
const bytes = (text) => new Uint8Array(Buffer.from(text, 'utf8'))
const TIMEOUT_MS = 20_000

let node

async function start ({ protocol, seed, serve }) {
  node = await createLibp2p({
    addresses: { listen: serve ? ['/ip4/127.0.0.1/tcp/0'] : [] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    peerDiscovery: [bootstrap({ list: [seed], timeout: 0 })],
    services: {
      identify: identify(),
      ping: ping(),
      dht: kadDHT({
        protocol,
        clientMode: !serve,
        peerInfoMapper: passthroughMapper,
        validators: { c: async () => {} },
        selectors: { c: (_key, records) => records.indexOf(records.reduce((best, one) => Buffer.compare(one, best) > 0 ? one : best)) }
      })
    }
  })
  if (serve) await node.services.dht.setMode('server')
  while (node.services.dht.routingTable.size === 0) await new Promise((resolve) => setTimeout(resolve, 20))
  say({ event: 'started', peer: node.peerId.toString(), routing: node.services.dht.routingTable.size, addrs: node.getMultiaddrs().map(String) })
}

async function find ({ peer }) {
  const found = await node.peerRouting.findPeer(peerIdFromString(peer), { signal: AbortSignal.timeout(TIMEOUT_MS) })
  say({ event: 'found', peer: found.id.toString(), addrs: found.multiaddrs.map(String) })
}

async function closest ({ key }) {
  const peers = []
  for await (const peer of node.peerRouting.getClosestPeers(bytes(key), { signal: AbortSignal.timeout(TIMEOUT_MS) })) peers.push(peer.id.toString())
  say({ event: 'closest', peers })
}

async function put ({ key, value }) {
  const holders = []
  const errors = []
  for await (const event of node.services.dht.put(bytes(key), new Uint8Array(Buffer.from(value, 'hex')), { signal: AbortSignal.timeout(TIMEOUT_MS) })) {
    if (event.name === 'PEER_RESPONSE' && event.messageName === 'PUT_VALUE') holders.push(event.from.toString())
    if (event.name === 'QUERY_ERROR') errors.push(String(event.error))
  }
  say({ event: 'put', holders, errors })
}

async function get ({ key }) {
  const values = []
  for await (const event of node.services.dht.get(bytes(key), { signal: AbortSignal.timeout(TIMEOUT_MS) })) {
    if (event.name === 'VALUE') values.push(hex(event.value))
  }
  say({ event: 'got', values })
}

async function stop () {
  await node?.stop()
  say({ event: 'stopped' })
  process.exit(0)
}

const commands = { start, find, closest, put, get, stop }
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  try {
    await commands[command.do](command)
  } catch (error) {
    say({ event: 'failed', doing: command.do, error: String(error?.stack ?? error) })
  }
}
await stop()
