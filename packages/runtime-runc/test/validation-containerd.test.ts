// The suite itself, proven by a peer: Debian's containerd, where it is installed.
import { describe } from 'vitest'
import { hasContainerd } from '../../../bench/runtime/peers.ts'
import { validate } from './validation/outcomes.ts'

const noImageMounts = 'images as volumes came with containerd 2.1'
const noUserNamespaces = 'user namespaces came with containerd 1.7: this one ignores the request'
const notFound = 'containerd before 1.6.22 answers NOT_FOUND'

describe.skipIf(!hasContainerd())('containerd 1.6', () => {
  validate('containerd', {
    lacks: {
      'idempotence: StopPodSandbox and RemovePodSandbox of an unknown ID succeed': notFound,
      'idempotence: StopContainer and RemoveContainer of an unknown ID succeed': notFound,
      'sandbox: the same call twice at once makes one sandbox, and one container': 'the second call is refused',
      'container: the image ID is one in all answers, also when it was asked for': 'image_id came with 2.0',
      'image: a filter finds it among others, and nothing for a stranger': 'containerd ignores filters of images',
      'image mount: an image is mounted, read-only, with programs that run': noImageMounts,
      'image mount: the status names the ID of the mounted image': noImageMounts,
      'image mount: a part of an image': noImageMounts,
      'privilege: a capability may be named in full, and in small letters': 'it knows only NET_ADMIN and the like',
      'network: without DNS settings: those of the host; with empty ones: none': 'empty settings count as none',
      'namespace: user namespaces: two lines are refused': noUserNamespaces,
      'namespace: user namespaces: a mapping without root is refused': noUserNamespaces,
      'namespace: user namespaces: mode CONTAINER is refused': noUserNamespaces,
      'namespace: user namespaces: mode TARGET is refused': noUserNamespaces,
    },
    unsteady: {
      'container: past its memory limit it ends with 137 and OOMKilled': 'its news of that come late, or not at all',
    },
    skips: [
      /kernel has no AppArmor/,
      /^status has no (user|stop signal)$/,
      /^Status (lists no handlers|has no feature)/,
      /^the handler has no (recursive read-only mounts|user namespaces)$/,
      /^(RuntimeConfig|ListMetricDescriptors|GetContainerEvents|streamed lists) is not implemented$/,
    ],
  })
})
