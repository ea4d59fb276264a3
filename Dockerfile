# One image for the control plane, the workers and the command line: `docker build -t tenure .`

FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements/build.txt requirements/runtime.txt requirements/
# Wheels only, and only those whose hashes are in the repository; the build back end included.
RUN python -m venv /opt/tenure \
 && /opt/tenure/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/runtime.txt \
 && pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.txt
COPY LICENSE README.md pyproject.toml ./
COPY services services
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels . \
 && /opt/tenure/bin/pip install --no-cache-dir --no-deps wheels/*.whl

FROM python:3.12-slim
# A fixed number, so that volumes shared between containers have one owner.
RUN useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin tenure \
 && install -d -o tenure -g tenure -m 0700 /data /work
COPY --from=build /opt/tenure /opt/tenure
ENV PATH=/opt/tenure/bin:$PATH \
    PYTHONUNBUFFERED=1
USER tenure
WORKDIR /home/tenure
VOLUME ["/data", "/work"]
EXPOSE 50051 8080
# SIGTERM drains: a worker hands its jobs back, the server finishes what it has accepted.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tenure"]
CMD ["serve", "--store", "sqlite:///data", "--listen", "0.0.0.0:50051", "--http", "0.0.0.0:8080", "--insecure"]
