// Who may use an image that is there already. Pure.
import { parseImageReference } from '../pod/image-reference.ts'
import type { PullAccess, PulledRecord, PullSecret } from './records.ts'

/** KubeletConfiguration `imagePullCredentialsVerificationPolicy`, and the images that it spares. */
export interface VerificationPolicy {
  policy: 'NeverVerify' | 'NeverVerifyPreloadedImages' | 'NeverVerifyAllowlistedImages' | 'AlwaysVerify'
  /** KubeletConfiguration `preloadedImagesVerificationAllowlist`: names without tag; `prefix/*` are all below. */
  allowlist: readonly string[]
}

/** The name that a record goes by: without tag and digest, in full. */
export function repositoryOf(image: string): string {
  const { host, path } = parseImageReference(image)
  return `${host}/${path}`
}

/** Whether a pod must show that it could pull the image. @param pulledHere a kubelet of this node pulled it, or began to */
export function needsProof(image: string, pulledHere: boolean, { policy, allowlist }: VerificationPolicy): boolean {
  switch (policy) {
    case 'NeverVerify':
      return false
    case 'AlwaysVerify':
      return true
    case 'NeverVerifyPreloadedImages':
      return pulledHere
    case 'NeverVerifyAllowlistedImages':
      return pulledHere || !allowlist.some((pattern) => matches(pattern, repositoryOf(image)))
  }
}

const matches = (pattern: string, name: string): boolean =>
  pattern.endsWith('/*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern

const isSame = (a: PullSecret, b: PullSecret): boolean =>
  a.uid === b.uid && a.namespace === b.namespace && a.name === b.name

/**
 * Whether one of the secrets opens the image.
 * @returns what is to be recorded from now on; the same when nothing is new; undefined: the pod has to pull it
 */
export function opens(access: PullAccess | undefined, secrets: readonly PullSecret[]): PullAccess | undefined {
  if (!access) return undefined
  if (access.nodePodsAccessible) return access
  const known = access.kubernetesSecrets ?? []
  for (const secret of secrets) {
    const byHash = known.some(({ credentialHash }) => credentialHash !== '' && credentialHash === secret.credentialHash)
    const byName = known.some((one) => isSame(one, secret))
    if (byHash && byName) return access
    if (byHash || byName) return withSecret(access, secret)
  }
  return undefined
}

/** After a pull. @param secret undefined: it was pulled with the node's own credentials, or without any */
export function withPull(access: PullAccess = {}, secret: PullSecret | undefined): PullAccess {
  if (access.nodePodsAccessible || !secret) return { nodePodsAccessible: true }
  return withSecret(access, secret)
}

function withSecret({ kubernetesSecrets = [] }: PullAccess, secret: PullSecret): PullAccess {
  return { kubernetesSecrets: [...kubernetesSecrets.filter((one) => !isSame(one, secret)), secret] }
}

export const withAccess = (
  record: PulledRecord | undefined,
  imageRef: string,
  image: string,
  access: PullAccess,
  nowMs: number,
): PulledRecord => ({
  imageRef,
  lastUpdatedTime: new Date(nowMs).toISOString(),
  credentialMapping: { ...record?.credentialMapping, [repositoryOf(image)]: access },
})
