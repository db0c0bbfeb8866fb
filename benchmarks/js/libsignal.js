// libsignal as Signal's desktop client uses it (PQXDH, then the Double Ratchet with SPQR), timed for benchmarks/crypto.py.
// One JSON object a line in ({"do": ..., "count": ...}), one out ({"seconds": ...} or {"failed": ...}): the smaller of elapsed and
// processor time. Sessions stay in memory as native records: nothing is serialised or stored, the fastest way to use it.
import { createInterface } from 'node:readline'
import { randomBytes } from 'node:crypto'
import * as signal from '@signalapp/libsignal-client'

class Sessions extends signal.SessionStore {
  records = new Map()
  async saveSession (name, record) { this.records.set(name.toString(), record) }
  async getSession (name) { return this.records.get(name.toString()) ?? null }
  async getExistingSessions (names) { return names.map(name => this.records.get(name.toString())) }
}

class Identities extends signal.IdentityKeyStore {
  key = signal.PrivateKey.generate()
  async getIdentityKey () { return this.key }
  async getLocalRegistrationId () { return 1 }
  async saveIdentity () { return signal.IdentityChange.NewOrUnchanged }
  async isTrustedIdentity () { return true }
  async getIdentity () { return null }
}

class PreKeys extends signal.PreKeyStore {
  async savePreKey () {}
  async getPreKey () { throw new Error('no one-time keys are used') }
  async removePreKey () {}
}

class SignedPreKeys extends signal.SignedPreKeyStore {
  async saveSignedPreKey (id, record) { this.record = record }
  async getSignedPreKey () { return this.record }
}

class KyberPreKeys extends signal.KyberPreKeyStore {
  async saveKyberPreKey (id, record) { this.record = record }
  async getKyberPreKey () { return this.record }
  async markKyberPreKeyUsed () {}
}

class Person {
  sessions = new Sessions()
  identities = new Identities()
  preKeys = new PreKeys()
  signedPreKeys = new SignedPreKeys()
  kyberPreKeys = new KyberPreKeys()

  constructor (name) {
    this.address = signal.ProtocolAddress.new(name, 1)
  }

  async bundle () {
    const identity = this.identities.key
    const signed = signal.PrivateKey.generate()
    const signature = identity.sign(signed.getPublicKey().serialize())
    const kyber = signal.KEMKeyPair.generate()
    const kyberSignature = identity.sign(kyber.getPublicKey().serialize())
    await this.signedPreKeys.saveSignedPreKey(1, signal.SignedPreKeyRecord.new(1, 0, signed.getPublicKey(), signed, signature))
    await this.kyberPreKeys.saveKyberPreKey(1, signal.KyberPreKeyRecord.new(1, 0, kyber, kyberSignature))
    return signal.PreKeyBundle.new(
      1, 1, null, null, 1, signed.getPublicKey(), signature, identity.getPublicKey(), 1, kyber.getPublicKey(), kyberSignature
    )
  }

  begin (peer, bundle) {
    return signal.processPreKeyBundle(bundle, peer.address, this.address, this.sessions, this.identities)
  }

  async encrypt (peer, text) {
    const message = await signal.signalEncrypt(text, peer.address, this.address, this.sessions, this.identities)
    return message.serialize()
  }

  decryptFirst (peer, packet) {
    return signal.signalDecryptPreKey(
      signal.PreKeySignalMessage.deserialize(packet), peer.address, this.address,
      this.sessions, this.identities, this.preKeys, this.signedPreKeys, this.kyberPreKeys
    )
  }

  decrypt (peer, packet) {
    const message = signal.SignalMessage.deserialize(packet)
    return signal.signalDecrypt(message, peer.address, this.address, this.sessions, this.identities)
  }
}

const text = new Uint8Array(randomBytes(256))

async function meet () {
  const alice = new Person('alice')
  const bob = new Person('bob')
  await alice.begin(bob, await bob.bundle())
  await bob.decryptFirst(alice, await alice.encrypt(bob, text))
  await alice.decrypt(bob, await bob.encrypt(alice, text))
  return [alice, bob]
}

const [alice, bob] = await meet()
let stock = []

const jobs = {
  async turns (count) {
    for (let done = 0; done < count; done += 2) {
      await bob.decrypt(alice, await alice.encrypt(bob, text))
      await alice.decrypt(bob, await bob.encrypt(alice, text))
    }
  },
  async encrypt (count) {
    stock = []
    for (let done = 0; done < count; done++) stock.push(await alice.encrypt(bob, text))
  },
  async decrypt (count) { // what `encrypt` left
    for (const packet of stock.slice(0, count)) await bob.decrypt(alice, packet)
  },
  async setup (count) { // keys of both sides made before: a bundle is taken, a first message written and opened
    const pairs = []
    for (let done = 0; done < count; done++) {
      const [one, other] = [new Person('alice'), new Person('bob')]
      pairs.push([one, other, await other.bundle()])
    }
    const elapsed = stopwatch()
    for (const [one, other, bundle] of pairs) {
      await one.begin(other, bundle)
      await other.decryptFirst(one, await one.encrypt(other, text))
    }
    return elapsed()
  }
}

function stopwatch () {
  const [wall, cpu] = [process.hrtime.bigint(), process.cpuUsage()]
  return () => {
    const spent = process.cpuUsage(cpu)
    return Math.min(Number(process.hrtime.bigint() - wall) / 1e9, (spent.user + spent.system) / 1e6)
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { do: job, count } = JSON.parse(line)
  try {
    const elapsed = stopwatch()
    const timed = await jobs[job](count)
    process.stdout.write(JSON.stringify({ seconds: timed ?? elapsed() }) + '\n')
  } catch (error) {
    process.stdout.write(JSON.stringify({ failed: String(error) }) + '\n')
  }
}
