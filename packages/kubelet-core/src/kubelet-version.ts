// Which Kubernetes this is like.

/** The behaviour that this kubelet has, as Kubernetes counts versions. */
export const kubeletVersion = 'v1.36.0+nodelet'
