// The keys of pods, and the requests that show who has them. All that takes time is done on other threads.
import { generateKeyPair, type KeyObject, sign } from 'node:crypto'
import { promisify } from 'node:util'

const makePair = promisify(generateKeyPair)
const signed = promisify(sign)

interface Kind {
  make(): Promise<{ publicKey: KeyObject; privateKey: KeyObject }>
  /** Of what is signed; undefined: none. */
  hash: string | undefined
  /** AlgorithmIdentifier of the signature, DER. */
  algorithm: Buffer
}

const sequence = 0x30

/** A value of ASN.1 with its tag and length. */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  const { length } = body
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), body])
}

const algorithm = (hex: string): Buffer => der(sequence, Buffer.from(hex, 'hex'))

const rsa = (modulusLength: number): Kind => ({
  make: async () => makePair('rsa', { modulusLength }),
  hash: 'sha256',
  algorithm: algorithm('06092a864886f70d01010b0500'), // sha256WithRSAEncryption
})
const ecdsa = (namedCurve: string, hash: string, oid: string): Kind => ({
  make: async () => makePair('ec', { namedCurve }),
  hash,
  algorithm: algorithm(oid),
})

/** `keyType` of a `podCertificate` source. */
export type PodKeyType = 'RSA3072' | 'RSA4096' | 'ECDSAP256' | 'ECDSAP384' | 'ECDSAP521' | 'ED25519'

/** Each with the signature that Go has for it. */
const kinds: Readonly<Record<PodKeyType, Kind>> = {
  RSA3072: rsa(3072),
  RSA4096: rsa(4096),
  ECDSAP256: ecdsa('P-256', 'sha256', '06082a8648ce3d040302'), // ecdsa-with-SHA256
  ECDSAP384: ecdsa('P-384', 'sha384', '06082a8648ce3d040303'),
  ECDSAP521: ecdsa('P-521', 'sha512', '06082a8648ce3d040304'),
  ED25519: { make: async () => makePair('ed25519', {}), hash: undefined, algorithm: algorithm('06032b6570') },
}

export const podKeyTypes: readonly PodKeyType[] = Object.keys(kinds) as PodKeyType[]

export interface PodKey {
  /** PKCS#8, PEM. */
  key: string
  /** PKCS#10 without a subject, DER: its signature shows that who made it has the key. */
  request: Buffer
}

export async function makePodKey(type: PodKeyType): Promise<PodKey> {
  const { make, hash, algorithm } = kinds[type]
  const { publicKey, privateKey } = await make()
  const [integer, noAttributes, bitString] = [0x02, 0xa0, 0x03]
  const info = der(
    sequence,
    der(integer, Buffer.from([0])),
    der(sequence), // no subject
    publicKey.export({ type: 'spki', format: 'der' }),
    der(noAttributes),
  )
  const signature = await signed(hash, info, privateKey)
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    request: der(sequence, info, algorithm, der(bitString, Buffer.from([0]), signature)),
  }
}
