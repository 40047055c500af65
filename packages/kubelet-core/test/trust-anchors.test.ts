import type { ClusterTrustBundle } from 'kubernetes-types/certificates/v1alpha1.d.ts'
import { expect, test } from 'vitest'
import { type TrustSource, trustAnchors } from '../src/volume/trust-anchors.ts'

const pem = (text: string): string => {
  const lines =
    Buffer.from(text)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}
const bundle = (name: string, trustBundle: string, signerName?: string): ClusterTrustBundle => ({
  metadata: { name, labels: { name: name.replaceAll(':', '-') } },
  spec: { trustBundle, ...(signerName && { signerName }) },
})
const bundles = [
  bundle('roots', `words\n${pem('b')}more words\r\n${pem('a').replaceAll('\n', '\r\n')}`),
  bundle('example.com:s:old', pem('old'), 'example.com/s'),
  bundle('example.com:s:new', pem('new') + pem('old'), 'example.com/s'),
  bundle('other', pem('x'.repeat(100)), 'example.com/other'),
]

test.each<[what: string, TrustSource, shown: string[]]>([
  ['by name', { name: 'roots' }, ['a', 'b']],
  ['by signer, each certificate once', { signerName: 'example.com/s', labelSelector: {} }, ['new', 'old']],
  [
    'by labels',
    { signerName: 'example.com/s', labelSelector: { matchLabels: { name: 'example.com-s-old' } } },
    ['old'],
  ],
  ['in lines of 64', { name: 'other' }, ['x'.repeat(100)]],
  ['none, where that is allowed', { name: 'gone', optional: true }, []],
  [
    'none of the signer, where that is allowed',
    { signerName: 'example.com/none', labelSelector: {}, optional: true },
    [],
  ],
])('%s', (_, source, shown) => {
  for (const all of [bundles, bundles.toReversed()])
    expect(trustAnchors(source, all).toString()).toBe(shown.map(pem).join(''))
})

const zero = 'combination of signerName and labelSelector matched zero ClusterTrustBundles'
test.each<[TrustSource, message: string]>([
  [{ name: 'gone' }, 'while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io "gone" not found'],
  [{ signerName: 'example.com/none', labelSelector: {} }, zero],
  // No selector selects nothing.
  [{ signerName: 'example.com/s' }, zero],
  [{}, 'ClusterTrustBundle projection requires either name or signerName to be set'],
  [{ name: 'key' }, 'ClusterTrustBundle "key": a PRIVATE KEY block is no certificate in PEM'],
  [{ name: 'garbage' }, 'ClusterTrustBundle "garbage": a CERTIFICATE block is no certificate in PEM'],
])('%j is refused', (source, message) => {
  const more = [
    bundle('key', pem('a').replaceAll('CERTIFICATE', 'PRIVATE KEY')),
    bundle('garbage', pem('a').replace('YQ==', '*')),
  ]
  expect(() => trustAnchors(source, [...bundles, ...more])).toThrow(message)
})
