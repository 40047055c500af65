// The trust anchors of a `projected` volume: those of one ClusterTrustBundle, or of all that a signer has. Pure.
import { labelSelectorOf, matchesLabels } from '@nodelet/kube-client'
import type { ClusterTrustBundle } from 'kubernetes-types/certificates/v1alpha1.d.ts'
import type { ClusterTrustBundleProjection } from 'kubernetes-types/core/v1.d.ts'
import { certificatesIn, pemOf } from '../certificate/pem.ts'

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
  return Buffer.from(
    [...certificates]
      .toSorted()
      .map((hex) => pemOf('CERTIFICATE', Buffer.from(hex, 'hex')))
      .join(''),
  )
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

/** The DER of each certificate in hex, which sorts as its bytes do. */
function certificatesOf({ metadata, spec }: ClusterTrustBundle): string[] {
  try {
    return certificatesIn(spec.trustBundle).map((der) => der.toString('hex'))
  } catch (cause) {
    const what = `while normalizing trust anchors: ClusterTrustBundle "${metadata?.name}"`
    throw new Error(`${what}: ${(cause as Error).message}`, { cause })
  }
}
