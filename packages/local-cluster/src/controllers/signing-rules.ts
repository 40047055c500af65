// Which requests for certificates are signed, and which are approved unseen. Pure.
import type { ParsedRequest } from '../sign.ts'

export const clientSigner = 'kubernetes.io/kube-apiserver-client'
export const kubeletClientSigner = 'kubernetes.io/kube-apiserver-client-kubelet'
export const kubeletServingSigner = 'kubernetes.io/kubelet-serving'

type Names = Omit<ParsedRequest, 'request'>

const isOf = (usages: readonly string[], needed: readonly string[], optional: readonly string[]): boolean =>
  needed.every((one) => usages.includes(one)) && usages.every((one) => needed.includes(one) || optional.includes(one))

const isNode = ({ organizations, commonName }: Names): boolean =>
  organizations.length === 1 && organizations[0] === 'system:nodes' && commonName.startsWith('system:node:')

const sansOf = ({ dnsNames, ipAddresses, otherNames }: Names): number =>
  dnsNames.length + ipAddresses.length + otherNames.length

/** Why the signer never signs this; undefined: it may. Signers of others are not asked. */
export function signingProblem(signer: string, names: Names, usages: readonly string[]): string | undefined {
  switch (signer) {
    case clientSigner:
      return isOf(usages, ['client auth'], ['digital signature', 'key encipherment'])
        ? undefined
        : 'usages did not match [client auth]'
    case kubeletClientSigner:
      if (!isOf(usages, ['client auth', 'digital signature'], ['key encipherment'])) {
        return 'usages did not match [key encipherment digital signature client auth]'
      }
      if (sansOf(names) > 0) return 'DNS, IP, email and URI subject alternative names are not allowed'
      return isNode(names) ? undefined : 'subject must be O=system:nodes, CN=system:node:NAME'
    case kubeletServingSigner:
      if (!isOf(usages, ['server auth', 'digital signature'], ['key encipherment'])) {
        return 'usages did not match [key encipherment digital signature server auth]'
      }
      if (names.otherNames.length > 0) return 'email and URI subject alternative names are not allowed'
      if (sansOf(names) === 0) return 'at least one DNS or IP subject alternative name is required'
      return isNode(names) ? undefined : 'subject must be O=system:nodes, CN=system:node:NAME'
    default:
      return undefined
  }
}

/** The message of an approval that needs nobody: nodes that join, and nodes that renew what they have. */
export function unseenApproval(
  signer: string,
  names: Names,
  user: { name: string; groups: readonly string[] },
): string | undefined {
  if (signer !== kubeletClientSigner) return undefined
  if (user.name === names.commonName) {
    return 'Auto approving self kubelet client certificate after SubjectAccessReview.'
  }
  return user.groups.includes('system:bootstrappers')
    ? 'Auto approving kubelet client certificate after SubjectAccessReview.'
    : undefined
}
