// What clients are told while the runtime takes over what the last life left.
import { CriError, StatusResponse } from '@nodelet/cri-api'
import type { ImageService, RuntimeService } from '@nodelet/cri-api'

interface Services {
  runtimeService: RuntimeService
  imageService: ImageService
}

/** The two services: Version and Status answer from the start, all else once `open` was called. */
export interface Gate extends Services {
  open(services: Services): void
}

export function createGate({ name, version }: { name: string; version: string }): Gate {
  let services: Services | undefined
  const reason = 'RuntimeStarting'
  const message = 'the runtime is starting: it takes over the containers of its last life; ask again in a moment'
  const early: Pick<RuntimeService, 'version' | 'status'> = {
    version: async () => ({ version: '0.1.0', runtimeName: name, runtimeVersion: version, runtimeApiVersion: 'v1' }),
    status: async () => {
      const conditions = ['RuntimeReady', 'NetworkReady'].map((type) => ({ type, status: false, reason, message }))
      return StatusResponse.fromPartial({ status: { conditions } })
    },
  }
  const refuse = (): never => {
    throw new CriError('UNAVAILABLE', message)
  }
  const gated = <K extends keyof Services>(kind: K, answers: object): Services[K] =>
    new Proxy({} as Services[K], {
      get: (_target, call) =>
        services ? Reflect.get(services[kind], call) : ((Reflect.get(answers, call) as unknown) ?? refuse),
    })
  return {
    runtimeService: gated('runtimeService', early),
    imageService: gated('imageService', {}),
    open: (opened) => {
      services = opened
    },
  }
}
