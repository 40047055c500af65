/**
 * Where a kubelet puts tokens of the pod's service account: in the volume context, or in secrets, as JSON of
 * `{AUDIENCE: {token, expirationTimestamp}}`.
 */
export const tokensKey = 'csi.storage.k8s.io/serviceAccount.tokens'
