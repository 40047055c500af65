// Pulls by name: where to ask, with which rights, for how long.
import type { AuthConfig } from '@nodelet/cri-api'
import { within } from '../registry/failure.ts'
import { hostsOf } from '../registry/hosts-folder.ts'
import { createTokenCache } from '../registry/token-cache.ts'
import type { Source } from './downloads.ts'
import { printReference } from './reference.ts'
import type { Reference } from './reference.ts'
import { openRepository } from './registry.ts'

/** How registries are spoken to. */
export interface RegistriesOptions {
  /**
   * Folder with a folder for each registry, which says in `hosts.toml` who serves its images, as containerd's
   * `config_path`; or several with colons between. Read anew for each pull. Default: there is none.
   */
  registryConfigPath?: string | undefined
  /** Whether a registry is spoken to without TLS. Default: loopback hosts that turn out not to know TLS. */
  plainHttp?: ((host: string) => boolean) | undefined
  /** Milliseconds without a byte after which a pull is given up; 0: never. Default: 5 minutes. */
  imagePullProgressTimeout?: number | undefined
}

export interface Puller {
  /** Resolves a name and has `fetch` take what it stands for. Failures are in words for users. */
  pull<T>(
    reference: Reference,
    auth: AuthConfig | undefined,
    signal: AbortSignal,
    fetch: (source: Source, root: { content: Buffer; digest: string }, signal: AbortSignal) => Promise<T>,
  ): Promise<T>
}

export function createPuller(options: RegistriesOptions): Puller {
  const { registryConfigPath, plainHttp, imagePullProgressTimeout } = options
  const tokens = createTokenCache()
  return {
    pull: async (reference, auth, leaving, fetch) => {
      try {
        const hosts = await hostsOf(reference.domain, registryConfigPath, plainHttp?.(reference.domain))
        await using repository = openRepository(reference, {
          auth,
          hosts,
          tokens,
          progressTimeout: imagePullProgressTimeout,
        })
        const signal = AbortSignal.any([leaving, repository.signal])
        return await fetch(repository, await repository.resolve(signal), signal)
      } catch (error) {
        throw within(`failed to pull and unpack image "${printReference(reference)}"`, error)
      }
    },
  }
}
