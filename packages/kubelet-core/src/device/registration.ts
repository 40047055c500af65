// `kubelet.sock`: where device plugins say that they are there.
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Server, status } from '@grpc/grpc-js'
import { Empty, type RegisterRequest, type RegistrationServer, RegistrationService } from '../gen/deviceplugin.ts'
import { listenOn } from '@nodelet/csi-node/registration'
import { isExtendedResource } from './devices.ts'

/** What kubelet and plugins speak. */
export const deviceVersion = 'v1beta1'
export const kubeletSocket = 'kubelet.sock'

/** Why a registration is refused, in the Go kubelet's words; undefined when it is fine. */
export function registrationProblem({ version, endpoint, resourceName }: RegisterRequest): string | undefined {
  if (version !== deviceVersion) {
    return `requested API version ${JSON.stringify(version)} is not supported by kubelet. Supported version is ["${deviceVersion}"]`
  }
  if (!isExtendedResource(resourceName)) return `the ResourceName ${JSON.stringify(resourceName)} is invalid`
  if (!/^[^/]+$/.test(endpoint) || endpoint === '.' || endpoint === '..' || endpoint === kubeletSocket) {
    return `the endpoint ${JSON.stringify(endpoint)} is invalid: it must be the name of a socket in the folder of ${kubeletSocket}`
  }
  return undefined
}

/** Removes the sockets of before, so that plugins see that they must register anew; then listens. */
export async function serveRegistration(
  folder: string,
  registered: (request: RegisterRequest) => void,
): Promise<AsyncDisposable> {
  await mkdir(folder, { recursive: true, mode: 0o750 })
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    if ((await stat(path)).isSocket()) await rm(path, { force: true })
  }
  const service: RegistrationServer = {
    register({ request }, reply) {
      const problem = registrationProblem(request)
      if (problem !== undefined) return reply({ code: status.UNKNOWN, details: problem })
      reply(null, Empty.create())
      registered(request)
    },
  }
  const server = new Server()
  server.addService(RegistrationService, service)
  return listenOn(server, join(folder, kubeletSocket))
}
