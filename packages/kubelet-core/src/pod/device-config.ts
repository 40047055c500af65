// What the devices of a container add to its configuration. Pure.
import { type ContainerConfig, Mount as MountMessage } from '@nodelet/cri-api'
import type { ContainerAllocateResponse } from '../gen/deviceplugin.ts'

/**
 * The container's own environment wins over what plugins say; all else is added.
 * @param cdiIds of its claims
 */
export function withDevices(
  config: ContainerConfig,
  answers: readonly ContainerAllocateResponse[],
  cdiIds: readonly string[],
): ContainerConfig {
  if (answers.length === 0 && cdiIds.length === 0) return config
  const own = new Set(config.envs.map(({ key }) => key))
  const envs = answers.flatMap((answer) => Object.entries(answer.envs)).filter(([key]) => !own.has(key))
  const mounts = answers.flatMap((answer) => answer.mounts)
  const devices = answers.flatMap((answer) => answer.devices)
  return {
    ...config,
    envs: [...envs.map(([key, value]) => ({ key, value: Buffer.from(value) })), ...config.envs],
    mounts: [
      ...config.mounts,
      ...mounts.map(({ containerPath, hostPath, readOnly }) =>
        MountMessage.fromPartial({ containerPath, hostPath, readonly: readOnly }),
      ),
    ],
    devices: [...config.devices, ...devices],
    CDIDevices: [
      ...config.CDIDevices,
      ...cdiIds.map((name) => ({ name })),
      ...answers.flatMap((answer) => answer.cdiDevices),
    ],
    annotations: { ...config.annotations, ...Object.assign({}, ...answers.map((answer) => answer.annotations)) },
  }
}
