// Requests for certificates, as far as the server reads them: whose key it is, and whether who asks has it. Pure.
import { createPublicKey, type KeyObject, verify } from 'node:crypto'

/** What each signature is over; undefined: what is signed itself. */
const hashes: Readonly<Record<string, string | undefined>> = {
  '2a864886f70d01010b': 'sha256', // sha256WithRSAEncryption
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
  '2a8648ce3d040302': 'sha256', // ecdsa-with-SHA256
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
  '2b6570': undefined, // Ed25519
}

interface Value {
  tag: number
  /** With its tag and length. */
  whole: Buffer
  body: Buffer
}

/** The values of ASN.1 that follow each other in DER. @throws RangeError when they are not whole */
function valuesOf(der: Buffer): Value[] {
  const values: Value[] = []
  for (let at = 0; at < der.length;) {
    const first = der.readUInt8(at + 1)
    const more = first < 0x80 ? 0 : first & 0x7f
    const length = more === 0 ? first : der.readUIntBE(at + 2, more)
    const begin = at + 2 + more
    if (begin + length > der.length) throw new RangeError('a value is longer than what it is in')
    values.push({
      tag: der.readUInt8(at),
      whole: der.subarray(at, begin + length),
      body: der.subarray(begin, begin + length),
    })
    at = begin + length
  }
  return values
}

const [integer, bitString, objectIdentifier, sequence, attributes] = [0x02, 0x03, 0x06, 0x30, 0xa0] as const

/** The values, when these are their tags. @throws Error when they are not */
function partsOf<Tags extends readonly number[]>(der: Buffer, tags: readonly [...Tags]): { [K in keyof Tags]: Value } {
  const values = valuesOf(der)
  if (values.length !== tags.length || tags.some((tag, index) => values[index]?.tag !== tag)) {
    throw new Error('not PKCS#10')
  }
  return values as { [K in keyof Tags]: Value }
}

/** @param der PKCS#10. @returns the key, once its signature is found good. @throws Error when it is none, or the signature is not */
export function provenKey(der: Buffer): KeyObject {
  const [request] = partsOf(der, [sequence])
  const [info, algorithm, signature] = partsOf(request.body, [sequence, sequence, bitString])
  const [, , key] = partsOf(info.body, [integer, sequence, sequence, attributes])
  const [kind] = valuesOf(algorithm.body)
  const oid = kind?.tag === objectIdentifier ? kind.body.toString('hex') : ''
  if (!Object.hasOwn(hashes, oid)) throw new Error('its signature is of an unknown kind')
  const publicKey = createPublicKey({ key: key.whole, format: 'der', type: 'spki' })
  // A bit string begins with how many bits of its last byte are none.
  if (signature.body[0] !== 0 || !verify(hashes[oid], info.whole, publicKey, signature.body.subarray(1))) {
    throw new Error('its signature is not that of its key')
  }
  return publicKey
}
