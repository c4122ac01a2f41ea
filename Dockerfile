# A worker of the phone verification; for an app of your own, copy that to app.py instead.
#   docker build --tag bide .
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY examples examples
RUN python -m venv /opt/bide && /opt/bide/bin/pip install --no-cache-dir '.[fast,postgres]'

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home bide
COPY --from=build /opt/bide /opt/bide
COPY examples/phone_verification/app.py /app/app.py
WORKDIR /app
USER 10001
ENV PATH=/opt/bide/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 BIDE_HOST=0.0.0.0
EXPOSE 7071
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7071/readyz', timeout=2)"]
# In this form the server itself gets SIGTERM, and comes to its end in order.
ENTRYPOINT ["bide"]
CMD ["serve", "app.py"]
