// The trust anchors of a `projected` volume: those of one ClusterTrustBundle, or of all that a signer has. Pure.
import { labelSelectorOf, matchesLabels } from '@nodelet/kube-client'
import type { ClusterTrustBundle } from 'kubernetes-types/certificates/v1alpha1.d.ts'
import type { ClusterTrustBundleProjection } from 'kubernetes-types/core/v1.d.ts'

/** Which bundles a volume shows: PodSpec `volumes[].projected.sources[].clusterTrustBundle`. */
export type TrustSource = Pick<ClusterTrustBundleProjection, 'name' | 'signerName' | 'labelSelector' | 'optional'>

/**
 * The certificates as PEM, each once, in an order that depends on nothing but them.
 *
 * @param bundles all of the cluster
 * @throws Error in upstream's words when no bundle is chosen and the source is not optional; naming a bundle that is malformed
 */
export function trustAnchors(source: TrustSource, bundles: readonly ClusterTrustBundle[]): Buffer {
  const { name, signerName, optional = false } = source
  const chosen = bundles.filter((bundle) => isChosen(source, bundle))
  if (chosen.length === 0 && !optional) {
    if (name !== undefined)
      throw new Error(`while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io "${name}" not found`)
    if (signerName !== undefined)
      throw new Error('combination of signerName and labelSelector matched zero ClusterTrustBundles')
    throw new Error('ClusterTrustBundle projection requires either name or signerName to be set')
  }
  const certificates = new Set(chosen.flatMap(certificatesOf))
  return Buffer.from([...certificates].toSorted().map(pemOf).join(''))
}

function isChosen({ name, signerName, labelSelector }: TrustSource, { metadata, spec }: ClusterTrustBundle): boolean {
  if (name !== undefined) return metadata?.name === name
  // Without a selector nothing is chosen; an empty one chooses all of the signer.
  return (
    signerName !== undefined &&
    spec.signerName === signerName &&
    labelSelector !== undefined &&
    matchesLabels(labelSelectorOf(labelSelector), metadata?.labels ?? {})
  )
}

const block = /-----BEGIN ([A-Z0-9 ]+)-----\r?\n([\s\S]*?)-----END \1-----/g

/** The DER of each certificate in hex, which sorts as its bytes do. What is between blocks, and their headers, says nothing. */
function certificatesOf({ metadata, spec }: ClusterTrustBundle): string[] {
  return [...spec.trustBundle.matchAll(block)].map(([, type, body = '']) => {
    const base64 = body.replace(/^(.+:.*\r?\n)+\r?\n/, '').replaceAll(/\s/g, '')
    if (type === 'CERTIFICATE' && /^[A-Za-z0-9+/]+={0,2}$/.test(base64))
      return Buffer.from(base64, 'base64').toString('hex')
    throw new Error(
      `while normalizing trust anchors: ClusterTrustBundle "${metadata?.name}": a ${type} block is no certificate in PEM`,
    )
  })
}

function pemOf(hex: string): string {
  const lines =
    Buffer.from(hex, 'hex')
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}
